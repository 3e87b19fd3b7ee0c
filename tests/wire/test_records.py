"""Names, labels and terminals: each rule on both its sides."""

from __future__ import annotations

import pytest

from netdaemon.errors import BadRequest
from netdaemon.wire.records import (
    MAX_LABEL_VALUE,
    MAX_LABELS,
    TERMINAL_MAX,
    TOLD_PTY,
    Pty,
    check_labels,
    check_name,
    check_os_text,
    check_range,
)
from tests.wire.support import box, integer


@pytest.mark.parametrize("name", ["a", "A", "0", "web-1", "a" * 64, "a.b_c@d:e-f"])
def test_names(name: str) -> None:
    check_name("name", name)


@pytest.mark.parametrize("name", ["", "a" * 65, "-a", ".a", "_", "a b", "a/b", "a\n", "caf\u00e9", "a\0", "\u0661"])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(BadRequest, match="a name is 1 to 64 of") as caught:
        check_name("name", name)
    assert caught.value.field == "name"


@pytest.mark.parametrize(
    "labels",
    [
        (),
        ("a=",),
        ("a=b=c",),
        ("a/b.c-d_e=x", "B=\u00e9"),
        ("a" * 63 + "=x",),
        ("a=" + "x" * MAX_LABEL_VALUE,),
        ("ndx=1",),
        tuple(f"k{number}=v" for number in range(MAX_LABELS)),
    ],
)
def test_labels(labels: tuple[str, ...]) -> None:
    check_labels("labels", labels)


@pytest.mark.parametrize(
    ("labels", "what"),
    [
        (("a",), "is not of the form key=value"),
        (("=v",), "the label key ''"),
        (("a b=v",), "the label key 'a b'"),
        (("-a=v",), "the label key '-a'"),
        (("a" * 64 + "=x",), "is not 1 to 63 of"),
        (("nd.unit=x",), "netdaemon's own"),
        (("a=1", "a=2"), "'a' stands twice"),
        (("a=" + "x" * (MAX_LABEL_VALUE + 1),), "has 257 characters; at most 256"),
        (tuple(f"k{number}=v" for number in range(MAX_LABELS + 1)), "65 labels, and at most 64"),
    ],
)
def test_what_are_no_labels(labels: tuple[str, ...], what: str) -> None:
    with pytest.raises(BadRequest, match=what) as caught:
        check_labels("labels", labels)
    assert caught.value.field == "labels"


@pytest.mark.parametrize("size", [0, TERMINAL_MAX])
def test_terminals(size: int) -> None:
    Pty(rows=size, columns=size, term="xterm")


@pytest.mark.parametrize("size", [-1, TERMINAL_MAX + 1])
@pytest.mark.parametrize("field", ["rows", "columns"])
def test_terminals_of_no_size(field: str, size: int) -> None:
    with pytest.raises(BadRequest, match=f"{field} is {size}, and 0 to 65535 are allowed") as caught:
        Pty(**{field: size})
    assert caught.value.field == field


@pytest.mark.parametrize("term", ["", "a\0b"])
def test_terminals_of_no_kind(term: str) -> None:
    with pytest.raises(BadRequest) as caught:
        Pty(term=term)
    assert caught.value.field == "term"


def test_a_newer_daemon_may_tell_more_of_a_terminal() -> None:
    assert TOLD_PTY.decode(box({b"rows": integer(1), b"columns": integer(2), b"pixels": b""})) == Pty(rows=1, columns=2)


def test_ranges() -> None:
    check_range("n", 1, 1, 3)
    check_range("n", 3, 1, 3)
    for value in (0, 4):
        with pytest.raises(BadRequest, match=f"n is {value}, and 1 to 3 are allowed"):
            check_range("n", value, 1, 3)


def test_os_text() -> None:
    check_os_text("path", "a\udcff")
    check_os_text("path", "", empty=True)
    with pytest.raises(BadRequest, match="path is empty"):
        check_os_text("path", "")
    with pytest.raises(BadRequest, match="path has a NUL in it"):
        check_os_text("path", "a\0", empty=True)
