"""From a declaration to its box and back: keys, what may be left out, what is unknown, what is of the wrong type."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netdaemon.errors import BadRequest, LocalProtocolError, RemoteProtocolError
from netdaemon.wire import layout
from netdaemon.wire.box import decode_box, encode_box
from netdaemon.wire.fields import INTEGER, PAYLOAD, TEXT, array
from netdaemon.wire.records import State
from netdaemon.wire.told import PROCESS, ProcessRecord
from tests.support import LONG
from tests.wire import strategies
from tests.wire.support import box, integer


@dataclass(frozen=True, kw_only=True)
class Point:
    x: Annotated[int, INTEGER]
    y: Annotated[int, INTEGER] = 0

    def __post_init__(self) -> None:
        if self.x < 0:
            raise BadRequest(f"x is {self.x}, and 0 is the least", field="x")


STRICT = layout.record(Point)
OPEN = layout.open_record(Point)


@dataclass(frozen=True, kw_only=True)
class Example:
    from_: Annotated[int, INTEGER]
    text: Annotated[str, TEXT] | None = None
    many: Annotated[tuple[str, ...], array(TEXT)] = ()
    point: Annotated[Point, STRICT] | None = None
    open: Annotated[Point, OPEN] | None = None


@dataclass(frozen=True, kw_only=True)
class Named:
    z: Annotated[int, INTEGER]

    def __post_init__(self) -> None:
        raise BadRequest(f"named: z is {self.z}, and that is too little", field="named")


NAMED = layout.record(Named)


@dataclass(frozen=True, kw_only=True)
class Holder:
    named: Annotated[Named, NAMED]


@dataclass(frozen=True, kw_only=True)
class Carrier:
    to: Annotated[int, INTEGER]
    payload: Annotated[bytes, PAYLOAD] = b""


def test_the_layout_of_a_declaration() -> None:
    """The key is the name without the underscore that keeps it from being a Python keyword."""
    plan = layout.layout(Example)
    assert [slot.key for slot in plan.slots] == [b"from", b"text", b"many", b"point", b"open"]
    assert plan.required == {b"from"}
    assert plan.payload is None
    assert layout.layout(Carrier).payload == "payload"
    assert [slot.key for slot in layout.layout(Carrier).slots] == [b"to"]


def test_a_field_without_a_wire_type() -> None:
    @dataclass
    class Wrong:
        plain: int

    @dataclass
    class Noted:
        noted: Annotated[int, "no field"]

    for declaration in (Wrong, Noted):
        with pytest.raises(TypeError, match="has no wire type"):
            layout.layout(declaration)


def test_a_factory_is_a_default() -> None:
    @dataclass
    class Made:
        many: Annotated[tuple[str, ...], array(TEXT)] = field(default_factory=tuple)

    assert layout.layout(Made).required == frozenset()


def test_none_is_left_out() -> None:
    assert layout.encode(Example(from_=1)) == box({b"from": integer(1), b"many": b""})


@pytest.mark.parametrize("value", ["1", 1.5, 1 << 63])
def test_what_is_not_of_its_type_is_not_sent(value: object) -> None:
    with pytest.raises(LocalProtocolError, match=r"Carrier\.to: "):
        layout.encode(Carrier(to=value))  # type: ignore[arg-type]


def test_a_record_that_is_none_is_not_sent() -> None:
    with pytest.raises(LocalProtocolError, match=r"Example\.point: "):
        layout.encode(Example(from_=1, point=5))  # type: ignore[arg-type]


@pytest.mark.parametrize("strict", [True, False])
def test_what_may_be_left_out(strict: bool) -> None:
    assert layout.decode(Example, box({b"from": integer(5)}), strict=strict) == Example(from_=5)


@pytest.mark.parametrize("strict", [True, False])
def test_the_order_of_the_keys_is_free(strict: bool) -> None:
    octets = box({b"text": b"a", b"from": integer(5)})
    assert layout.decode(Example, octets, strict=strict) == Example(from_=5, text="a")


def test_an_unknown_field_is_refused_where_it_is_asked_for() -> None:
    octets = box({b"from": integer(5), b"colour": b"red"})
    with pytest.raises(BadRequest, match=r"no field 'colour'; it has: from, text, many, point, open") as caught:
        layout.decode(Example, octets, strict=True)
    assert caught.value.field == "colour"
    assert layout.decode(Example, octets, strict=False) == Example(from_=5)


def test_the_python_name_is_no_key() -> None:
    with pytest.raises(BadRequest, match="no field 'from_'"):
        layout.decode(Example, box({b"from_": integer(5)}), strict=True)


def test_a_key_of_any_bytes_can_be_told() -> None:
    """The name of the field goes into the answer as text."""
    with pytest.raises(BadRequest) as caught:
        layout.decode(Example, box({b"\xff\n": b""}), strict=True)
    assert caught.value.field == "\\xff\n"


@pytest.mark.parametrize("strict", [True, False])
def test_a_missing_field(strict: bool) -> None:
    with pytest.raises(BadRequest, match="Example needs the field 'from'") as caught:
        layout.decode(Example, box({}), strict=strict)
    assert caught.value.field == "from"


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(
    ("key", "value", "what"),
    [
        (b"from", b"5", "from is not of type integer"),
        (b"text", b"\xff", "text is not of type text"),
        (b"many", b"\0", "many is not of type array of text"),
        (b"point", b"", "point is not of type record"),
        (b"point", b"\1", "point is not of type record"),
        (b"point", box([(b"x", integer(1)), (b"x", integer(1))]), "point is not of type record"),
        (b"point", box({b"y": integer(1)}), "point: Point needs the field 'x'"),
        (b"point", box({b"x": b""}), "point: x is not of type integer"),
        (b"point", box({b"x": integer(1)}) + b"z", "point: Point has 1 bytes after its box"),
        (b"point", box({b"x": integer(-1)}), "point: x is -1, and 0 is the least"),
        (b"open", b"\0", "open is not of type record"),
    ],
)
def test_a_field_of_the_wrong_type(key: bytes, value: bytes, what: str, strict: bool) -> None:
    """It is refused by name, a record as any other type; the message around it is whole."""
    with pytest.raises(BadRequest, match=what) as caught:
        layout.decode(Example, box({b"from": integer(1)} | {key: value}), strict=strict)
    assert caught.value.field == key.decode()


def test_a_record_that_names_its_field_itself() -> None:
    """It is named once."""
    with pytest.raises(BadRequest, match=r"^named: z is 1, and that is too little$") as caught:
        layout.decode(Holder, box({b"named": box({b"z": integer(1)})}), strict=True)
    assert caught.value.field == "named"


def test_records_in_requests_are_strict_and_those_of_a_daemon_are_open() -> None:
    inner = box({b"x": integer(1), b"z": b""})
    octets = box({b"from": integer(1), b"point": inner})
    for strict in (True, False):
        with pytest.raises(BadRequest, match="point: Point has no field 'z'"):
            layout.decode(Example, octets, strict=strict)
        decoded = layout.decode(Example, box({b"from": integer(1), b"open": inner}), strict=strict)
        assert decoded.open == Point(x=1)


def test_a_payload_is_what_is_left() -> None:
    octets = b"..." + box({b"to": integer(1)}) + b"payload"
    assert layout.decode(Carrier, octets, 3, strict=True) == Carrier(to=1, payload=b"payload")
    assert layout.encode(Carrier(to=1, payload=b"payload")) == box({b"to": integer(1)})


@pytest.mark.parametrize("strict", [True, False])
def test_nothing_stands_after_a_box_that_has_no_payload(strict: bool) -> None:
    with pytest.raises(BadRequest, match="2 bytes after its box"):
        layout.decode(Example, box({b"from": integer(1)}) + b"zz", strict=strict)


def test_a_payload_is_no_key() -> None:
    with pytest.raises(BadRequest, match="no field 'payload'"):
        layout.decode(Carrier, box({b"to": integer(1), b"payload": b""}), strict=True)


def test_what_is_no_box() -> None:
    with pytest.raises(RemoteProtocolError):
        layout.decode(Example, b"\0\1", strict=True)


@settings(deadline=None, max_examples=100 if LONG else 25)
@given(data=st.data())
@pytest.mark.parametrize("declaration", [*strategies.REQUESTS, *strategies.REPLIES, *strategies.EVENTS])
def test_what_is_generated_does_as_the_general_code(declaration: type[Any], data: st.DataObject) -> None:
    """The same box; and the same message from it, and from one whose keys stand in another order."""
    message = data.draw(strategies.messages_of(declaration))
    plan = layout.layout(declaration)
    box = layout.encode(message)
    assert box == layout._encode_any(message, plan)
    payload = b"" if plan.payload is None else bytes(getattr(message, plan.payload))
    octets = b"head" + box + payload
    assert plan.decode(octets, 4, memoryview(octets)) == message
    values, end = layout._decode_any(declaration, plan, octets, 4, strict=True)
    assert end == 4 + len(box)
    assert declaration(**values, **({} if plan.payload is None else {plan.payload: payload})) == message
    pairs = list(decode_box(box)[0].items())
    turned = encode_box(data.draw(st.permutations(pairs)))
    assert layout.decode(declaration, turned + payload, strict=True) == message


def test_a_remembered_box_is_made_once() -> None:
    process = ProcessRecord(id="p", state=State.RUNNING, argv=("a",))
    first = PROCESS.encode(process)
    assert first == layout.encode(process)
    assert PROCESS.item(process) is PROCESS.item(process)
    assert PROCESS.encode(replace(process, id="q")) == layout.encode(replace(process, id="q"))
