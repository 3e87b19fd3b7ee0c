"""Expressions of others: what they find, what is none, and that neither a line nor memory is spent without bound."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netdaemon.errors import BadRequest
from netdaemon.patterns import LINE, SIZE_MAX, WITHIN, Pattern


@pytest.mark.parametrize(
    ("pattern", "line", "found"),
    [
        ("listening", "now listening on 80", True),
        ("listening", "Listening", False),
        ("(?i)listening", "LISTENING", True),
        (r"^Done \([0-9.]+s\)!", "Done (3.141s)! For help, type help", True),
        (r"^Done \([0-9.]+s\)!", "[main] Done (3.141s)!", False),
        (r"(\d{1,3}\.){3}\d{1,3}:\d+$", "bound to 127.0.0.1:8080", True),
        (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "id 558de7f2-a5d7-62ff-0123-0123456789ab", True),
        (r"(?x) \d {2} : \d {2}", "at 12:30", True),
        (r"a{1,2", "a{1,2", True),
        ("caf\u00e9", "un caf\u00e9", True),
        ("", "", True),
    ],
)
def test_what_is_found(pattern: str, line: str, found: bool) -> None:
    asked = Pattern(pattern, "ready")
    assert asked.found_in(line) is found
    assert not asked.slow


def test_the_beginning_of_a_line_is_looked_at() -> None:
    asked = Pattern("b", "ready")
    assert asked.found_in("a" * (LINE - 1) + "b")
    assert not asked.found_in("a" * LINE + "b")


@pytest.mark.parametrize("pattern", ["(", "*", "a**b", "[z-a]", r"\L<names>", "(?P<a>.)(?P=b)", "(?<=", "a{2}{3}{"])
def test_what_is_no_expression(pattern: str) -> None:
    with pytest.raises(BadRequest) as caught:
        Pattern(pattern, "ready")
    assert caught.value.field == "ready"
    assert f"ready: the pattern {pattern!r} is no regular expression: " in str(caught.value)


def test_an_expression_that_would_take_for_ever() -> None:
    """It is given up within its time, and not asked again: also not where it would be quick to answer."""
    asked = Pattern("(a|aa)+$", "ready")
    assert asked.found_in("aaa")
    before = time.thread_time()
    assert not asked.found_in("a" * 100 + "b")
    # The library looks at the clock now and then only.
    assert time.thread_time() - before < 50 * WITHIN
    assert asked.slow
    assert not asked.found_in("aaa")


@pytest.mark.parametrize(
    "pattern",
    [
        "a{1000000}b",
        "a{0,1000000}",
        "a{1000000,}",
        "(a{1000}){1000}",
        "((((a{1000}){1000}){1000}){1000})b",
        "(?:ab{1000}){1000}",
        "(?x)(a{1000}) {1000}",
        "(?ix) a{1 000 000}",
        "(?:" + "[ab]" * 100 + "){100}",
        "a{" + "9" * 500 + "}",
    ],
)
def test_an_expression_that_would_take_all_memory(pattern: str) -> None:
    """To compile it is to write its repeats out: that is not begun."""
    before = time.thread_time()
    with pytest.raises(BadRequest, match=f"with its repeats written out, and {SIZE_MAX} are allowed") as caught:
        Pattern(pattern, "ready")
    assert caught.value.field == "ready"
    assert time.thread_time() - before < 0.1


def test_an_expression_of_the_most_repeats() -> None:
    count = SIZE_MAX - len("a{0000}")
    asked = Pattern(f"a{{{count}}}", "ready")
    assert asked.found_in("a" * count)
    assert not asked.found_in("a" * (count - 1))
    with pytest.raises(BadRequest):
        Pattern(f"a{{{count + 1}}}", "ready")


@settings(deadline=None)
@given(
    pattern=st.lists(
        st.sampled_from(
            ["a", "(", ")", "[", "]", "*", "+", "?", "|", "\\", ".", "^", "{2}", "{9,}", "(?", "(?R)", "{e}"]
        )
    ).map("".join),
    line=st.text(max_size=100),
)
def test_any_expression_is_one_or_refused(pattern: str, line: str) -> None:
    try:
        asked = Pattern(pattern, "ready")
    except BadRequest:
        return
    assert asked.found_in(line) in (True, False)
