"""From a message's declaration (an annotated dataclass) to its box and back; knows no particular message."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Callable
from struct import error as StructError
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

from netdaemon.errors import BadRequest, LocalProtocolError, RemoteProtocolError
from netdaemon.wire import fields
from netdaemon.wire.box import LENGTH_SIZE, decode_box, encode_box, value_length
from netdaemon.wire.generate import Slot, decoder, encoder

T = TypeVar("T")

# The box of any message with a payload ends within this; where it does not, the message is read in another way.
BOX_BEFORE_PAYLOAD = 256


@dataclasses.dataclass(frozen=True)
class Layout:
    """What a declaration comes to.

    :ivar encode: what `generate` made of it; fails where a value is not of its type.
    :ivar decode: likewise; gives None where the box is not in order.
    :ivar readers: for each key what a box in any order is read with: name, decoder.
    """

    slots: tuple[Slot, ...]
    encode: Callable[[Any], bytes]
    decode: Callable[[bytes, int, bytes | memoryview], Any]
    readers: dict[bytes, tuple[str, Callable[[bytes], Any]]]
    required: frozenset[bytes]
    payload: str | None


def _field_of(hint: Any) -> fields.Field[Any] | None:
    """The Field in ``Annotated[T, FIELD]`` or ``Annotated[T, FIELD] | None``."""
    if get_origin(hint) is Annotated:
        for note in get_args(hint)[1:]:
            if isinstance(note, fields.Field):
                return note
        return None
    if get_origin(hint) in (types.UnionType, typing.Union):
        for part in get_args(hint):
            found = _field_of(part)
            if found is not None:
                return found
    return None


@functools.cache
def layout(declaration: type[Any]) -> Layout:
    """The layout of an annotated dataclass.

    A trailing underscore in a Python name (``from_``, ``for_``) is not part of the key.
    """
    hints = get_type_hints(declaration, include_extras=True)
    slots: list[Slot] = []
    payload: str | None = None
    for declared in dataclasses.fields(declaration):
        field = _field_of(hints[declared.name])
        if field is None:
            raise TypeError(f"{declaration.__name__}.{declared.name} has no wire type")
        if field is fields.PAYLOAD:
            payload = declared.name
            continue
        required = declared.default is dataclasses.MISSING and declared.default_factory is dataclasses.MISSING
        key = declared.name.rstrip("_").encode("ascii")
        factory = None if declared.default_factory is dataclasses.MISSING else declared.default_factory
        slots.append(Slot(declared.name, key, field, required, declared.default, factory))
    return Layout(
        tuple(slots),
        encoder(slots),
        decoder(declaration, slots, payload),
        {slot.key: (slot.name, slot.field.decode) for slot in slots},
        frozenset(slot.key for slot in slots if slot.required),
        payload,
    )


def encode(message: Any) -> bytes:
    """The box of *message*; a value of None is left out.

    :raises LocalProtocolError: a value is not of its field's type.
    """
    plan = layout(type(message))  # type: ignore[arg-type]  # typeshed: a class is hashable
    try:
        return plan.encode(message)
    except (AttributeError, TypeError, ValueError, StructError):
        return _encode_any(message, plan)


def _encode_any(message: Any, plan: Layout) -> bytes:
    """The same; tells which value is not of its field's type."""
    pairs: list[tuple[bytes, bytes]] = []
    for slot in plan.slots:
        value = getattr(message, slot.name)
        if value is not None:
            try:
                pairs.append((slot.key, slot.field.encode(value)))
            except (TypeError, ValueError) as error:
                raise LocalProtocolError(f"{type(message).__name__}.{slot.name}: {error}") from None
    return encode_box(pairs)


def decode(declaration: type[T], octets: bytes | memoryview, start: int = 0, *, strict: bool) -> T:
    """The message of type *declaration* whose box, and payload if it has one, stand in *octets* at *start*.

    Nothing in it refers to *octets* any more.

    :param strict: refuse keys that are not declared (requests); otherwise skip them (replies and events).
    :raises BadRequest: a field is missing, unknown, or of the wrong type; ``field`` names it.
    :raises RemoteProtocolError: it is no box.
    """
    plan = layout(declaration)  # type: ignore[arg-type]  # typeshed: a class is hashable
    whole = octets
    if octets.__class__ is not bytes:
        octets = bytes(octets if plan.payload is None else octets[: start + BOX_BEFORE_PAYLOAD])
    try:
        found = plan.decode(octets, start, whole)
    except (ValueError, BadRequest, StructError):
        # Told in the same words as what is wrong with any other box.
        found = None
    if found is not None:
        message: T = found
        return message
    octets = bytes(whole)
    values, end = _decode_any(declaration, plan, octets, start, strict=strict)
    if plan.payload is not None:
        values[plan.payload] = octets[end:]
    elif end != len(octets):
        raise _excess(declaration, octets, end)
    return declaration(**values)


def _decode_any(
    declaration: type[Any], plan: Layout, octets: bytes, start: int, *, strict: bool
) -> tuple[dict[str, Any], int]:
    """The values, and where the box ends, for keys in any order; tells what is wrong."""
    pairs, end = decode_box(octets, start)
    values: dict[str, Any] = {}
    for key, raw in pairs.items():
        reader = plan.readers.get(key)
        if reader is None:
            if strict:
                raise _unknown(declaration, plan, key)
            continue
        try:
            values[reader[0]] = reader[1](raw)
        except BadRequest as error:
            # A record's own checks may name its field themselves.
            what = str(error).removeprefix(f"{key.decode()}: ")
            raise BadRequest(f"{key.decode()}: {what}", field=key.decode()) from None
        except ValueError as error:
            type_name = next(slot.field.name for slot in plan.slots if slot.key == key)
            raise BadRequest(f"{key.decode()} is not of type {type_name}: {error}", field=key.decode()) from None
    if plan.payload is None and end != len(octets):
        raise _excess(declaration, octets, end)
    if not plan.required <= pairs.keys():
        missing = sorted(key.decode() for key in plan.required - pairs.keys())
        raise BadRequest(f"{declaration.__name__} needs the field {missing[0]!r}", field=missing[0])
    return values, end


def _unknown(declaration: type[Any], plan: Layout, key: bytes) -> BadRequest:
    name = key.decode("ascii", "backslashreplace")
    known = ", ".join(slot.key.decode() for slot in plan.slots) or "none"
    return BadRequest(f"{declaration.__name__} has no field {name!r}; it has: {known}", field=name)


def _excess(declaration: type[Any], octets: bytes, end: int) -> BadRequest:
    return BadRequest(f"{declaration.__name__} has {len(octets) - end} bytes after its box, and none belong there")


class Remembered:
    """A record that keeps its box once it has been encoded: it never changes, and is told again and again."""

    __slots__ = ("item",)

    item: bytes


def _remembered(value: Any) -> bytes:
    """Its box, with the length before it."""
    try:
        item: bytes = value.item
    except AttributeError:
        box = encode(value)
        item = value_length(len(box)) + box
        # A frozen dataclass lets nobody else do it.
        object.__setattr__(value, "item", item)
    return item


def _remembered_box(value: Any) -> bytes:
    return _remembered(value)[LENGTH_SIZE:]


def _record(declaration: type[Any], *, strict: bool) -> fields.Field[Any]:
    def decode_record(octets: bytes) -> Any:
        try:
            return decode(declaration, octets, strict=strict)
        except RemoteProtocolError as error:
            # The message around it is whole: one value is of the wrong type, as any other may be.
            raise ValueError(str(error)) from None

    if issubclass(declaration, Remembered):
        return fields.record(_remembered_box, decode_record, _remembered)
    return fields.record(encode, decode_record)


def record(declaration: type[Any]) -> fields.Field[Any]:
    """The field type of a record: *declaration*'s box in a box. Unknown keys in it are refused, as in any request."""
    return _record(declaration, strict=True)


def open_record(declaration: type[Any]) -> fields.Field[Any]:
    """The same for what a daemon sends: keys that this side does not know are skipped."""
    return _record(declaration, strict=False)
