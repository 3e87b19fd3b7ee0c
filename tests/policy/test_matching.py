"""Patterns, paths and sets: tables, a plain model beside them, and what takes long elsewhere."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netdaemon.policy.matching import Glob, Ids, PathGlob, Paths, Whom, components
from netdaemon.policy.principals import Principal


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("acme-*", ["acme-", "acme-1", "acme-a/b"], ["acme", "xacme-1", "Acme-1"]),
        ("*", ["", "a", "a\nb"], []),
        ("a?c", ["abc", "a\nc"], ["ac", "abbc"]),
        ("a*b*c", ["abc", "aXbYc", "abbc", "abcbc"], ["ab", "acb", "abcd"]),
        ("*.log", [".log", "a.log"], ["alog", "a.logs"]),
        ("a.c", ["a.c"], ["abc"]),
        ("(a+)+$", ["(a+)+$"], ["aaa"]),
        ("**", ["", "abc"], []),
    ],
)
def test_words(pattern: str, yes: list[str], no: list[str]) -> None:
    assert [one for one in yes if not Glob(pattern).matches(one)] == []
    assert [one for one in no if Glob(pattern).matches(one)] == []


def test_the_beginning() -> None:
    assert [Glob(one).beginning for one in ("LD_*", "*", "IFS", "A?C*")] == ["LD_", "", "IFS", "A"]


def model(pattern: str, text: str) -> bool:
    """The same, by trying everything."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return model(pattern[1:], text) or bool(text and model(pattern, text[1:]))
    return bool(text) and pattern[0] in ("?", text[0]) and model(pattern[1:], text[1:])


@given(st.text("ab*?", max_size=7), st.text("ab", max_size=8))
def test_words_are_as_the_model_has_them(pattern: str, text: str) -> None:
    assert Glob(pattern).matches(text) == model(pattern, text)


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("/srv/games/*/server", ["/srv/games/a/server"], ["/srv/games/server", "/srv/games/a/b/server"]),
        ("/srv/games/**", ["/srv/games/a", "/srv/games/a/b"], ["/srv/games", "/srv/gamesx/a", "/srv"]),
        ("/**", ["/a", "/a/b/c", "/"], []),
        ("/", ["/"], ["/a"]),
        ("/a/**/z", ["/a/z", "/a/b/z", "/a/b/c/z", "/a/z/z"], ["/a", "/z", "/a/zz", "/b/z", "/a/b"]),
        ("/a/**/b/**/c", ["/a/b/c", "/a/x/b/y/z/c", "/a/b/b/c"], ["/a/c", "/a/b", "/a/x/c"]),
        ("/**/lib/*.so", ["/lib/a.so", "/usr/lib/a.so"], ["/lib/x/a.so", "/usr/a.so"]),
        ("/a*", ["/a", "/ab"], ["/a/b", "/"]),
        ("/a?", ["/ab"], ["/a", "/a/"]),
        ("/*", ["/a", "/.hidden"], ["/", "/a/b"]),
    ],
)
def test_paths(pattern: str, yes: list[str], no: list[str]) -> None:
    paths = Paths((PathGlob(pattern),))
    assert [one for one in yes if not paths.has(one)] == []
    assert [one for one in no if paths.has(one)] == []


ODD = ["", "a", "a/b", "./a", "//a", "/a/", "/a//b", "/a/./b", "/a/../b", "/..", "/.", "//"]


@pytest.mark.parametrize("path", ODD)
def test_what_is_no_plain_path_is_never_allowed_and_always_forbidden(path: str) -> None:
    everything = Paths((PathGlob("/"), PathGlob("/**")))
    assert components(path) is None
    assert not everything.has(path)
    assert everything.touches(path)
    assert Paths((PathGlob("/elsewhere"),)).touches(path)
    assert not Paths().touches(path)


def expression(pattern: str) -> str:
    """A path's pattern as a regular expression; not a linear one."""
    found = ""
    names = pattern[1:].split("/")
    for index, name in enumerate(names):
        if name == "**":
            found += "(/[^/]+)+" if index == len(names) - 1 else "(/[^/]+)*"
        else:
            found += "/" + name.replace("*", "[^/]*")
    return found


@given(
    st.lists(st.sampled_from(["a", "b", "*", "**", "a*"]), min_size=1, max_size=5),
    st.lists(st.sampled_from(["a", "b", "ab"]), min_size=1, max_size=6),
)
def test_paths_are_as_the_model_has_them(pattern: list[str], path: list[str]) -> None:
    pattern_text, path_text = "/" + "/".join(pattern), "/" + "/".join(path)
    expected = re.fullmatch(expression(pattern_text), path_text) is not None
    assert Paths((PathGlob(pattern_text),)).has(path_text) == expected


def test_nothing_takes_long() -> None:
    """With a matcher that goes back, the first takes longer than anybody lives."""
    assert not Glob("*a" * 30 + "*b").matches("a" * 4000)
    path = "/a" * 2000
    assert not Paths((PathGlob("/**/a" * 12 + "/b"),)).has(path)


@pytest.mark.parametrize("pattern", ["", "a", "a/**", "/a/../b", "/a//b", "/a/", "/a**", "/a/**b/c", "/."])
def test_no_path_patterns(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"a path begins with / and|in place of a whole name"):
        PathGlob(pattern)


def test_nobody_is_root_by_a_range_or_a_star_or_as_oneself() -> None:
    wide = Ids(everything=True, own=True, ranges=((0, 100),))
    assert wide.has(1, ())
    assert not wide.has(0, (0,))
    assert Ids(numbers=frozenset((0,))).has(0, ())
    # What is forbidden is another matter.
    for forbidden in (
        Ids(everything=True, forbidding=True),
        Ids(ranges=((0, 9),), forbidding=True),
        Ids(own=True, forbidding=True),
    ):
        assert forbidden.has(0, (0,))


def test_numbers() -> None:
    some = Ids(numbers=frozenset((7,)), ranges=((10, 12),), own=True)
    assert [number for number in range(20) if some.has(number, (15,))] == [7, 10, 11, 12, 15]


PIN = "sha256:" + "ab" * 32
KNOWN = [
    Principal(uid=1000, gid=100, groups=frozenset((7,))),
    Principal(pin=PIN, names=("dns:Panel.Example.org", "uri:urn:A")),
    Principal(token="acme"),
    Principal(uid=0, gid=0, token="acme"),
]


@pytest.mark.parametrize(
    ("whom", "expected"),
    [
        (Whom(uids=Ids(numbers=frozenset((1000,)))), [0]),
        (Whom(uids=Ids(ranges=((0, 1),), forbidding=True)), [3]),
        (Whom(gids=Ids(numbers=frozenset((100,)))), [0]),
        (Whom(gids=Ids(numbers=frozenset((7,)))), [0]),
        (Whom(gids=Ids(numbers=frozenset((8,)))), []),
        (Whom(pins=frozenset((PIN,))), [1]),
        (Whom(names=frozenset(("dns:panel.example.org",))), [1]),
        (Whom(names=frozenset(("uri:urn:A",))), [1]),
        (Whom(names=frozenset(("uri:urn:a",))), []),
        (Whom(tokens=frozenset(("acme",))), [2, 3]),
        (Whom(anyone=True), [0, 1, 2, 3]),
        (Whom(), []),
    ],
)
def test_whom(whom: Whom, expected: list[int]) -> None:
    assert [index for index, principal in enumerate(KNOWN) if whom.has(principal)] == expected


@pytest.mark.parametrize("principal", [Principal(), Principal(uid=65534, gid=65534), Principal(gid=100)])
def test_nobody_unknown_is_anyone(principal: Principal) -> None:
    everybody = Ids(ranges=((0, 100_000),), everything=True, forbidding=True)
    assert not Whom(anyone=True, uids=everybody, gids=everybody).has(principal)


def test_the_group_of_those_without_one_is_nobodys() -> None:
    everybody = Ids(numbers=frozenset((65534,)))
    assert not Whom(gids=everybody).has(Principal(uid=1000, gid=65534, groups=frozenset((65534,))))
