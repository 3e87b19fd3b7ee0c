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
from netdaemon.wire.box import END, decode_box, key_head, read_value_length, value_length

T = TypeVar("T")

# The box of any message with a payload ends within this; where it does not, the message is read in another way.
BOX_BEFORE_PAYLOAD = 256


@dataclasses.dataclass(frozen=True)
class Slot:
    """One declared field: its name in Python, its key on the wire, its type, and whether it may be left out."""

    name: str
    key: bytes
    field: fields.Field[Any]
    required: bool


@dataclasses.dataclass(frozen=True)
class Layout:
    """What a declaration comes to.

    :ivar writers: for each slot what `encode` needs: name, key as it stands in a box, encoder.
    :ivar expected: for each slot what `decode` needs when the keys come in this order: name, key as it stands in a
        box, decoder, whether it is required.
    :ivar readers: for each key what `decode` needs in any order: name, decoder.
    """

    slots: tuple[Slot, ...]
    writers: tuple[tuple[str, bytes, Callable[[Any], bytes]], ...]
    expected: tuple[tuple[str, bytes, Callable[[bytes], Any], bool], ...]
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
        slots.append(Slot(declared.name, declared.name.rstrip("_").encode("ascii"), field, required))
    return Layout(
        tuple(slots),
        tuple((slot.name, key_head(slot.key), slot.field.encode) for slot in slots),
        tuple((slot.name, key_head(slot.key), slot.field.decode, slot.required) for slot in slots),
        {slot.key: (slot.name, slot.field.decode) for slot in slots},
        frozenset(slot.key for slot in slots if slot.required),
        payload,
    )


def encode(message: Any) -> bytes:
    """The box of *message*; a value of None is left out.

    :raises LocalProtocolError: a value is not of its field's type.
    """
    parts: list[bytes] = []
    for name, head, encode_value in layout(type(message)).writers:  # type: ignore[arg-type]
        value = getattr(message, name)
        if value is not None:
            try:
                octets = encode_value(value)
            except (TypeError, ValueError) as error:
                raise LocalProtocolError(f"{type(message).__name__}.{name}: {error}") from None
            parts += head, value_length(len(octets)), octets
    parts.append(END)
    return b"".join(parts)


def decode(declaration: type[T], octets: bytes | memoryview, start: int = 0, *, strict: bool) -> T:
    """The message of type *declaration* whose box, and payload if it has one, stand in *octets* at *start*.

    Nothing in it refers to *octets* any more.

    :param strict: refuse keys that are not declared (requests); otherwise skip them (replies and events).
    :raises BadRequest: a field is missing, unknown, or of the wrong type; ``field`` names it.
    :raises RemoteProtocolError: it is no box.
    """
    plan = layout(declaration)  # type: ignore[arg-type]  # typeshed: a class is hashable
    if isinstance(octets, memoryview):
        if plan.payload is not None:
            found = _decode_in_order(plan, bytes(octets[: start + BOX_BEFORE_PAYLOAD]), start)
            if found is not None:
                values, end = found
                values[plan.payload] = bytes(octets[end:])
                return declaration(**values)
        octets = bytes(octets)
    values, end = _decode_in_order(plan, octets, start) or _decode_any(declaration, plan, octets, start, strict=strict)
    if plan.payload is not None:
        values[plan.payload] = octets[end:]
    elif end != len(octets):
        raise _excess(declaration, octets, end)
    return declaration(**values)


def _decode_in_order(plan: Layout, octets: bytes, start: int) -> tuple[dict[str, Any], int] | None:
    """The values, and where the box ends, if its keys are in the declared order and nothing is wrong with it.

    That is how `encode` writes it, and finding each key where it must be takes half the time of reading any box.
    """
    values: dict[str, Any] = {}
    position = start
    try:
        for name, head, decode_value, required in plan.expected:
            if octets.startswith(head, position):
                begin = position + len(head) + 4
                position = begin + read_value_length(octets, begin - 4)[0]
                values[name] = decode_value(octets[begin:position])
            elif required:
                return None
    except (ValueError, BadRequest, StructError):
        return None
    # Where a length leads beyond what is there, no end stands there either.
    return (values, position + len(END)) if octets.startswith(END, position) else None


def _decode_any(
    declaration: type[Any], plan: Layout, octets: bytes, start: int, *, strict: bool
) -> tuple[dict[str, Any], int]:
    """The same for keys in any order; tells what is wrong."""
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
            raise BadRequest(f"{key.decode()}: {error}", field=key.decode()) from None
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


def _record(declaration: type[Any], *, strict: bool) -> fields.Field[Any]:
    def decode_record(octets: bytes) -> Any:
        try:
            return decode(declaration, octets, strict=strict)
        except RemoteProtocolError as error:
            # The message around it is whole: one value is of the wrong type, as any other may be.
            raise ValueError(str(error)) from None

    return fields.record(encode, decode_record)


def record(declaration: type[Any]) -> fields.Field[Any]:
    """The field type of a record: *declaration*'s box in a box. Unknown keys in it are refused, as in any request."""
    return _record(declaration, strict=True)


def open_record(declaration: type[Any]) -> fields.Field[Any]:
    """The same for what a daemon sends: keys that this side does not know are skipped."""
    return _record(declaration, strict=False)
