"""Where keys stand, in files that are written in every way that there is."""

from __future__ import annotations

import tomllib
from typing import Any

from netdaemon.apply.faults import At, Fault
from netdaemon.policy.lines import located, places

TEXT = '''\
# [no] header
top = 1
[a]   # a comment with a = in it
x = "]["
"quoted key" = [
  1, # ]
  2,
]
  y.z = { b = 1, c = [ "#" ] }
'lit.eral' = """
[not.a.table]
k = 1
\\""" ] """
[a.b] \t
m = \'\'\'
n = 2 \'\'\'
o = 1979-05-27 07:32:00
[[bind]]
r = 1
[bind."s t"]
u = 1
[[bind]]
r = 2
[[bind.in]]
v = 1
[[bind.in]]
[ c . d ]
last = "\\"" # the end'''


def test_places() -> None:
    assert places(TEXT) == {
        "top": (2, 1),
        "a": (3, 1),
        "a.x": (4, 1),
        'a."quoted key"': (5, 1),
        "a.y": (9, 3),
        "a.y.z": (9, 3),
        'a."lit.eral"': (10, 1),
        "a.b": (14, 1),
        "a.b.m": (15, 1),
        "a.b.o": (17, 1),
        "bind[0]": (18, 1),
        "bind[0].r": (19, 1),
        'bind[0]."s t"': (20, 1),
        'bind[0]."s t".u': (21, 1),
        "bind[1]": (22, 1),
        "bind[1].r": (23, 1),
        "bind[1].in[0]": (24, 1),
        "bind[1].in[0].v": (25, 1),
        "bind[1].in[1]": (26, 1),
        "c.d": (27, 1),
        "c.d.last": (28, 1),
    }


def test_the_parser_has_the_same() -> None:
    """Every place is one of the document, and every table's key has a place, or is in one that has."""
    there = set(all_places(tomllib.loads(TEXT), At("", [])))
    found = places(TEXT)
    assert found.keys() <= there
    for place in there:
        assert located(Fault(file="", message="", place=place), found).line is not None or place in ("bind", "c")


def all_places(value: Any, at: At) -> list[str]:
    found = [at.place] if at.place else []
    if isinstance(value, dict):
        for key, one in value.items():
            found += all_places(one, at.key(key))
    elif isinstance(value, list):
        for index, one in enumerate(value):
            found += all_places(one, at.item(index))
    return found


def test_what_is_within_is_where_its_key_is() -> None:
    found = places(TEXT)
    for place, line in (("a.y.z.c[0]", 9), ('a."quoted key"[1]', 5), ("bind[1].nothing", 22), ("bind[1].in[1].x", 26)):
        assert located(Fault(file="f", message="m", place=place), found).line == line
    assert located(Fault(file="f", message="m", place="elsewhere"), found).line is None
    assert located(Fault(file="f", message="m"), found).line is None
