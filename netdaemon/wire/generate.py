"""Writes encoder and decoder of one declaration as Python source and compiles them; knows no particular message.

A loop over the fields spends most of its time on the loop. What is written here does the same with names, keys and
types filled in, for boxes whose keys stand in the declared order, as every encoder of ours writes them. Whatever is
out of the ordinary it leaves to the general code of `layout`, which tells what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import Struct
from typing import Any, NamedTuple

from netdaemon.wire import fields
from netdaemon.wire.box import END, key_head, read_value_length, value_length


class Slot(NamedTuple):
    """One declared field: its name in Python, its key on the wire, its type, and whether it may be left out.

    :ivar default: the value where there is none in the box.
    :ivar factory: makes that; None: *default* is it.
    """

    name: str
    key: bytes
    field: fields.Field[Any]
    required: bool
    default: Any = None
    factory: Callable[[], Any] | None = None


_WIDE = Struct(">q")

# The types whose values are of one size: the length is compared together with the key.
_SIZES = {fields.INTEGER: 8, fields.BOOLEAN: 1}

# What all of them use.
_ALL = {
    "END": END,
    "length": value_length,
    "read_length": read_value_length,
    "pack_wide": _WIDE.pack,
    "read_wide": _WIDE.unpack_from,
}


def encoder(slots: Sequence[Slot]) -> Callable[[Any], bytes]:
    """A function from a message to its box; it raises anything at all where a value is not of its field's type."""
    names: dict[str, Any] = dict(_ALL)
    lines = ["def encode(message):", "    parts = []"]
    for number, slot in enumerate(slots):
        names[f"head{number}"] = key_head(slot.key)
        names[f"encode{number}"] = slot.field.encode
        lines += [f"    value = message.{slot.name}", "    if value is not None:"]
        if slot.field in _SIZES:
            names[f"head{number}"] += value_length(_SIZES[slot.field])
        if slot.field is fields.INTEGER:
            lines += [
                f"        octets = pack_wide(value) if value.__class__ is int else encode{number}(value)",
                f"        parts += head{number}, octets",
            ]
        elif slot.field is fields.BOOLEAN:
            lines += [
                "        if value.__class__ is not bool:",
                "            raise TypeError",
                f"        parts += head{number}, b'\\1' if value else b'\\0'",
            ]
        elif slot.field is fields.TEXT:
            lines += [
                "        octets = value.encode()",
                f"        parts += head{number}, length(len(octets)), octets",
            ]
        else:
            lines += [
                f"        octets = encode{number}(value)",
                f"        parts += head{number}, length(len(octets)), octets",
            ]
    lines += ["    parts.append(END)", "    return b''.join(parts)"]
    encode: Callable[[Any], bytes] = _compiled(lines, "encode", names)
    return encode


def decoder(declaration: type[Any], slots: Sequence[Slot], payload: str | None) -> Callable[[bytes, int, Any], Any]:
    """A function from octets, and where a box begins in them, to the message, or None where it is not to be had so.

    Its third argument is what the payload is taken from at the same place: the octets themselves, or a view of them
    that goes on.
    """
    names: dict[str, Any] = {**_ALL, "make": declaration}
    lines = ["def decode(octets, position, whole):"]
    for number, slot in enumerate(slots):
        head = key_head(slot.key)
        size = _SIZES.get(slot.field)
        lines.append(f"    if octets.startswith(head{number}, position):")
        if size is None:
            lines.append(f"        begin = position + {len(head) + 4}")
            lines.append("        position = begin + read_length(octets, begin - 4)[0]")
        else:
            head += value_length(size)
            lines.append(f"        begin = position + {len(head)}")
            lines.append(f"        position = begin + {size}")
        names[f"head{number}"] = head
        if slot.field is fields.INTEGER:
            lines.append(f"        value{number} = read_wide(octets, begin)[0]")
        elif slot.field is fields.TEXT:
            lines.append(f"        value{number} = octets[begin:position].decode()")
        else:
            names[f"decode{number}"] = slot.field.decode
            lines.append(f"        value{number} = decode{number}(octets[begin:position])")
        lines.append("    else:")
        names[f"default{number}"] = slot.factory or slot.default
        if slot.required:
            lines.append("        return None")
        else:
            lines.append(f"        value{number} = default{number}{'()' if slot.factory else ''}")
    # Where a length leads beyond what is there, no end stands there either.
    lines += ["    if not octets.startswith(END, position):", "        return None"]
    arguments = [f"{slot.name}=value{number}" for number, slot in enumerate(slots)]
    if payload is not None:
        arguments.append(f"{payload}=bytes(whole[position + {len(END)}:])")
    else:
        lines += [f"    if position + {len(END)} != len(octets):", "        return None"]
    lines.append(f"    return make({', '.join(arguments)})")
    decode: Callable[[bytes, int, Any], Any] = _compiled(lines, "decode", names)
    return decode


def _compiled(lines: Sequence[str], name: str, names: dict[str, Any]) -> Any:
    exec("\n".join(lines), names)  # every word of it is from this module or a declaration of ours
    return names[name]
