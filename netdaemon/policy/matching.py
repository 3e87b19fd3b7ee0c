"""Patterns and sets that a policy is written in: names, paths, users, principals; knows no rule and no file.

Patterns are translated so that a match takes time linear in what is matched, which is what others send.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container
from dataclasses import dataclass, field

from netdaemon.policy.principals import UNKNOWN_UID, Principal

# Places in a path that are no names.
_NO_NAMES = frozenset(("", ".", ".."))

_ACROSS = "**"


def _expression(pattern: str) -> str:
    """A regular expression: what stands between two stars is taken where it is found first, once and for all."""
    first, *rest = ("".join("." if one == "?" else re.escape(one) for one in part) for part in pattern.split("*"))
    if not rest:
        return first
    *middle, last = rest
    return first + "".join(f"(?>.*?{part})" for part in middle if part) + ".*" + last


@dataclass(frozen=True)
class Glob:
    """A pattern for words: ``*`` is any characters, ``?`` is one, all others are themselves.

    :ivar found: what gives None for a word that does not match; for whoever asks at every request.
    """

    pattern: str
    found: Callable[[str], object] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        found = re.compile(_expression(self.pattern), re.DOTALL).fullmatch
        object.__setattr__(self, "found", found)

    def matches(self, text: str) -> bool:
        return self.found(text) is not None

    @property
    def beginning(self) -> str:
        """What stands before the first character that is special."""
        return re.split(r"[*?]", self.pattern, maxsplit=1)[0]


def components(path: str) -> list[str] | None:
    """The names in an absolute path; None: it is none, or goes through ``.``, ``..`` or an empty name."""
    if not path.startswith("/"):
        return None
    if path == "/":
        return []
    names = path[1:].split("/")
    return names if _NO_NAMES.isdisjoint(names) else None


@dataclass(frozen=True)
class PathGlob:
    """A pattern for absolute paths: ``*`` and ``?`` stay within a name; ``**`` in place of a name is any directories.

    At the end, ``**`` is all that is below, at any depth; ``/**`` is everything, and / itself.
    """

    pattern: str
    _runs: tuple[tuple[Glob, ...], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        names = components(self.pattern)
        if names is None:
            raise ValueError("a path begins with / and goes through no ., .. or //")
        if any(_ACROSS in name and name != _ACROSS for name in names):
            raise ValueError("** stands in place of a whole name, as in /srv/**")
        if names and names[-1] == _ACROSS:
            names.append("*")
        runs: list[list[Glob]] = [[]]
        for name in names:
            if name == _ACROSS:
                runs.append([])
            else:
                runs[-1].append(Glob(name))
        object.__setattr__(self, "_runs", tuple(map(tuple, runs)))

    @property
    def last(self) -> Glob | None:
        """The pattern of the last name; None: there is no name."""
        return self._runs[-1][-1] if self._runs[-1] else None

    def matches(self, names: list[str]) -> bool:
        """Whether it matches the path of these `components`."""
        if not names:
            return self.pattern in ("/", "/" + _ACROSS)
        first, *rest = self._runs
        if not rest:
            return len(names) == len(first) and _fits(first, names, 0)
        *middle, last = rest
        end = len(names) - len(last)
        at = len(first)
        if at > end or not _fits(first, names, 0) or not _fits(last, names, end):
            return False
        for run in middle:
            # Where it is found first leaves the most for what follows.
            while at + len(run) <= end and not _fits(run, names, at):
                at += 1
            at += len(run)
            if at > end:
                return False
        return True


def _fits(run: tuple[Glob, ...], names: list[str], at: int) -> bool:
    return all(glob.matches(names[at + index]) for index, glob in enumerate(run))


@dataclass(frozen=True)
class Paths:
    """Paths that match one of several patterns."""

    globs: tuple[PathGlob, ...] = ()

    def has(self, path: str) -> bool:
        """Whether *path* is among them; one that is not plain never is."""
        names = components(path)
        return names is not None and any(glob.matches(names) for glob in self.globs)

    def touches(self, path: str) -> bool:
        """The same for what is forbidden: what cannot be told is forbidden, too, where anything is."""
        names = components(path)
        return bool(self.globs) if names is None else any(glob.matches(names) for glob in self.globs)

    def __str__(self) -> str:
        return ", ".join(glob.pattern for glob in self.globs) or "none"


@dataclass(frozen=True, kw_only=True)
class Ids:
    """Users or groups by number.

    :ivar everything: all of them. Neither that, nor a range, nor ``own`` covers 0: that has to be among ``numbers``.
    :ivar own: whoever's it is that is asked for.
    :ivar forbidding: it is a list of what is forbidden, in which the others do cover 0.
    :ivar said: as it is written.
    """

    numbers: frozenset[int] = frozenset()
    ranges: tuple[tuple[int, int], ...] = ()
    everything: bool = False
    own: bool = False
    forbidding: bool = False
    said: str = "none"

    def has(self, number: int, own: Container[int]) -> bool:
        """Whether *number* is among them, where *own* are those that are somebody's own."""
        if number in self.numbers:
            return True
        if number == 0 and not self.forbidding:
            return False
        return (
            self.everything
            or (self.own and number in own)
            or any(least <= number <= most for least, most in self.ranges)
        )

    def __str__(self) -> str:
        return self.said


NO_PATHS = Paths()
NO_IDS = Ids()


@dataclass(frozen=True, kw_only=True)
class Whom:
    """Principals, by what is known of them; one of its terms is enough. Somebody unknown is never among them."""

    terms: tuple[str, ...] = ()
    uids: Ids = NO_IDS
    gids: Ids = NO_IDS
    pins: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    tokens: frozenset[str] = frozenset()
    anyone: bool = False

    def has(self, principal: Principal) -> bool:
        if principal.uid is not None and principal.uid != UNKNOWN_UID:
            if self.anyone or self.uids.has(principal.uid, ()):
                return True
            gids = principal.groups if principal.gid is None else principal.groups | {principal.gid}
            # Groups have the same number for what has none here.
            if any(self.gids.has(gid, ()) for gid in gids if gid != UNKNOWN_UID):
                return True
        if principal.pin is not None:
            if self.anyone or principal.pin in self.pins or not self.names.isdisjoint(map(plain_name, principal.names)):
                return True
        return principal.token is not None and (self.anyone or principal.token in self.tokens)

    def __str__(self) -> str:
        return ", ".join(self.terms)


def plain_name(name: str) -> str:
    """A name of a certificate so that equal ones are equal: case counts in none that is a host's."""
    return name.lower() if name.startswith("dns:") else name
