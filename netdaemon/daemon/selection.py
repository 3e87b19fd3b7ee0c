"""Terms that select processes: ``name=web*``, ``state=running``, ``label.db_id=42``, ``id=a*``, a bare name or id."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from fnmatch import translate

from netdaemon.errors import BadRequest
from netdaemon.wire.records import State
from netdaemon.wire.told import ProcessRecord

Match = Callable[[ProcessRecord], bool]

# A selection is looked at for every process.
MAX_TERMS = 32
MAX_TERM = 256

# Characters of all terms together: making a pattern takes some microseconds for each.
MAX_TERMS_TOGETHER = 1024

_LABEL = "label."


def parse(terms: Iterable[str]) -> Match | None:
    """A function that tells whether a process matches every term; None: there are none, and every process does.

    :raises BadRequest: a term cannot be understood.
    """
    terms = tuple(terms)
    if len(terms) > MAX_TERMS:
        raise BadRequest(f"select has {len(terms)} terms, and at most {MAX_TERMS} are allowed", field="select")
    together = sum(map(len, terms))
    if together > MAX_TERMS_TOGETHER:
        raise BadRequest(
            f"select has {together} characters, and at most {MAX_TERMS_TOGETHER} are allowed in all terms together",
            field="select",
        )
    if not terms:
        return None
    matches = [_parse_one(term) for term in terms]
    return lambda record: all(match(record) for match in matches)


def _glob(pattern: str) -> Callable[[str], object]:
    """What tells whether a word matches. fnmatch itself remembers 32,768 patterns, whoever sent them."""
    return re.compile(translate(pattern)).match


def _parse_one(term: str) -> Match:
    if len(term) > MAX_TERM:
        raise BadRequest(f"a select term has {len(term)} characters; at most {MAX_TERM} are allowed", field="select")
    key, equals, pattern = term.partition("=")
    if not equals:
        either = _glob(term)
        return lambda record: bool(either(record.id) or (record.name is not None and either(record.name)))
    if key == "id":
        id_matches = _glob(pattern)
        return lambda record: bool(id_matches(record.id))
    if key == "name":
        name_matches = _glob(pattern)
        return lambda record: record.name is not None and bool(name_matches(record.name))
    if key == "state":
        try:
            state = State(pattern)
        except ValueError:
            known = ", ".join(one.value for one in State)
            raise BadRequest(f"{pattern!r} is no state; these are: {known}", field="select") from None
        return lambda record: record.state is state
    if key.startswith(_LABEL) and len(key) > len(_LABEL):
        start = key[len(_LABEL) :] + "="
        value_matches = _glob(pattern)
        return lambda record: any(
            label.startswith(start) and value_matches(label[len(start) :]) for label in record.labels
        )
    raise BadRequest(f"{term!r} selects nothing known; there are id=, name=, state= and label.KEY=", field="select")
