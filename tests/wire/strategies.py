"""Hypothesis strategies for every message, read off the declarations; what a declaration checks is written here."""

from __future__ import annotations

import dataclasses
import types
import typing
from enum import Enum
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from netdaemon.wire import answers, commands, records, specs, told, whom
from netdaemon.wire.fields import INTEGER_MAX, INTEGER_MIN, OS_TEXT

INTEGERS = st.integers(INTEGER_MIN, INTEGER_MAX) | st.integers(-2, 300)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)


def os_texts(min_size: int = 0) -> st.SearchStrategy[str]:
    """Any bytes but NUL, as Python has the names that the operating system gives."""
    octets = st.binary(min_size=min_size, max_size=12).filter(lambda octets: b"\0" not in octets)
    return octets.map(lambda octets: octets.decode("utf-8", "surrogateescape"))


def tuples_of(items: st.SearchStrategy[Any], min_size: int = 0) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(items, min_size=min_size, max_size=3).map(tuple)


def _of_hint(hint: Any) -> st.SearchStrategy[Any]:
    if get_origin(hint) in (types.UnionType, typing.Union):
        (hint,) = [part for part in get_args(hint) if part is not type(None)]
    notes: tuple[Any, ...] = ()
    if get_origin(hint) is Annotated:
        hint, *rest = get_args(hint)
        notes = tuple(rest)
    if get_origin(hint) is tuple:
        return tuples_of(_of_hint(get_args(hint)[0]))
    if hint is bool:
        return st.booleans()
    if hint is int:
        return INTEGERS
    if hint is str:
        return os_texts() if OS_TEXT in notes else TEXTS
    if hint in (bytes, bytes | memoryview):
        return st.binary(max_size=40)
    if issubclass(hint, Enum):
        return st.sampled_from(hint)
    return messages_of(hint)


def messages_of(declaration: type[Any]) -> st.SearchStrategy[Any]:
    """Messages (or records) of one declaration, each optional field there or not."""
    special = SPECIAL.get(declaration)
    if special is not None:
        return special()
    return _derived(declaration)


def _derived(declaration: type[Any], **given: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    hints = get_type_hints(declaration, include_extras=True)
    required: dict[str, st.SearchStrategy[Any]] = {}
    optional: dict[str, st.SearchStrategy[Any]] = {}
    for declared in dataclasses.fields(declaration):
        strategy = given[declared.name] if declared.name in given else _of_hint(hints[declared.name])
        (required if declared.default is dataclasses.MISSING else optional)[declared.name] = strategy
    return st.fixed_dictionaries(required, optional=optional).map(lambda values: declaration(**values))


SIZES = st.integers(0, records.TERMINAL_MAX)
CHANNELS = st.sampled_from([(1,), (2,), (1, 2), (2, 1)])
HOLDS = st.integers(commands.FOR_EVER, commands.HOLD_MAX)
NAMES = st.from_regex(records.NAME, fullmatch=True)
LABELS = st.dictionaries(
    st.from_regex(records.LABEL_KEY, fullmatch=True).filter(lambda key: not key.startswith(records.RESERVED_LABEL)),
    TEXTS,
    max_size=3,
).map(lambda labels: tuple(f"{key}={value}" for key, value in labels.items()))
ARGV = st.builds(lambda first, rest: (first, *rest), os_texts(1), tuples_of(os_texts()))
ENV = st.dictionaries(os_texts(1).filter(lambda name: "=" not in name), os_texts(), max_size=3).map(
    lambda env: tuple(f"{name}={value}" for name, value in env.items())
)
SIGNALS = st.integers(0, commands.SIGNAL_MAX)
WAITS = st.integers(1, specs.WAIT_MAX)
POLICIES = st.sampled_from(specs.Policy)
LINES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n"), min_size=1, max_size=12)
PATHS = os_texts(1).map(lambda name: "/" + name.replace("/", "_") + ".log")
FALSE = st.sampled_from([{}, {"kill": False}])

STEPS = st.one_of(
    st.builds(lambda stdin, more: specs.Step(stdin=stdin, **more), st.binary(min_size=1, max_size=40), FALSE),
    st.builds(lambda wait, more: specs.Step(wait=wait, **more), WAITS, FALSE),
    st.builds(specs.Step, signal=st.integers(1, specs.SIGNAL_MAX), scope=st.none() | st.sampled_from(records.Scope)),
    st.just(specs.Step(kill=True)),
)
# What checks a stop as a whole is in the request: a daemon may tell any steps.
STOPS = st.builds(
    lambda first, then, last: (*then, first, *last),
    STEPS.filter(lambda step: step.wait is None and step.kill is not True),
    tuples_of(STEPS.filter(lambda step: step.kill is not True)),
    st.sampled_from([(), (specs.Step(wait=100), specs.Step(kill=True))]),
)
RESTARTS = st.integers(0, specs.WAIT_MAX).flatmap(
    lambda delay: st.builds(
        specs.Restart,
        policy=POLICIES,
        codes=tuples_of(st.integers(0, specs.CODE_MAX)),
        delay=st.just(delay),
        longest=st.integers(delay, specs.WAIT_MAX),
        settled=st.integers(0, specs.WAIT_MAX),
        burst=st.integers(0, specs.BURST_MAX),
        interval=WAITS,
    )
)
READIES = st.builds(
    lambda how, timeout: specs.Ready(timeout=timeout, **how),
    st.one_of(
        LINES.map(lambda text: {"output": text}),
        LINES.map(lambda text: {"pattern": text, "notify": False}),
        st.just({"notify": True}),
    ),
    st.none() | WAITS,
)
LOGS = st.builds(
    specs.Log,
    path=PATHS,
    size=st.integers(specs.LOG_SIZE_MIN, specs.LOG_SIZE_MAX),
    age=st.none() | st.integers(specs.LOG_AGE_MIN, specs.LOG_AGE_MAX),
    files=st.integers(0, specs.LOG_FILES_MAX),
    compress=st.booleans(),
    required=st.booleans(),
)
# Names of digits alone are numbers, and those end somewhere.
ACCOUNTS = st.integers(0, whom.ID_MAX).map(str) | st.from_regex(r"[A-Za-z_][A-Za-z0-9_.@\\-]{0,8}\$?", fullmatch=True)
WHOLE_PATHS = st.lists(os_texts(1).map(lambda name: name.replace("/", "_").replace(".", "_")), max_size=3).map(
    lambda names: "/" + "/".join(names)
)
RUN_AS = {
    "user": ACCOUNTS,
    "group": ACCOUNTS,
    "groups": tuples_of(ACCOUNTS),
    "umask": st.integers(0, whom.UMASK_MAX),
    "chroot": WHOLE_PATHS,
    "nice": st.integers(whom.NICE_MIN, whom.NICE_MAX),
    "oom_score_adj": st.integers(whom.OOM_MIN, whom.OOM_MAX),
    "capabilities": tuples_of(st.sampled_from(whom.CAPABILITIES)),
}
AMOUNTS = st.integers(0, whom.LIMIT_MAX)
LIMIT_VALUES = st.one_of(
    AMOUNTS.map(str),
    st.just(whom.UNLIMITED),
    st.tuples(AMOUNTS, AMOUNTS).map(lambda pair: f"{min(pair)}:{max(pair)}"),
    AMOUNTS.map(lambda soft: f"{soft}:{whom.UNLIMITED}"),
)
BOUNDS = st.just("max") | AMOUNTS.map(str)
QUOTAS = st.just("max") | st.integers(whom.CPU_QUOTA_MIN, whom.LIMIT_MAX).map(str)
PERIODS = st.integers(whom.CPU_PERIOD_MIN, whom.CPU_PERIOD_MAX)
CGROUP_VALUES = {
    **dict.fromkeys(whom.CGROUP, BOUNDS),
    "cpu.max": QUOTAS | st.builds("{}/{}".format, QUOTAS, PERIODS),
    "cpu.weight": st.integers(1, 10_000).map(str),
}


def terms_of(values: dict[str, st.SearchStrategy[str]]) -> st.SearchStrategy[tuple[str, ...]]:
    """Terms NAME=VALUE, each name once at most."""
    term = st.one_of(st.tuples(st.just(name), value) for name, value in values.items())
    return st.lists(term, max_size=3, unique_by=lambda term: term[0]).map(lambda terms: tuple(map("=".join, terms)))


def without_two_roots(values: dict[str, Any]) -> bool:
    """A sandbox makes a root of its own: with a chroot it is refused."""
    return "sandbox" not in values or "run_as" not in values or values["run_as"].chroot is None


# What is declared of a process, by START and by CHANGE.
DECLARED: dict[str, st.SearchStrategy[Any]] = {
    "stop": STOPS,
    "restart": RESTARTS,
    "ready": READIES,
    "watchdog": st.integers(specs.WATCHDOG_MIN, specs.WAIT_MAX),
    "log": LOGS,
    "run_as": st.deferred(lambda: messages_of(whom.RunAs)),
    "limits": terms_of(dict.fromkeys(whom.LIMITS, LIMIT_VALUES)),
    "cgroup": terms_of(CGROUP_VALUES),
    "sandbox": st.deferred(lambda: messages_of(whom.Sandbox)),
}


@st.composite
def _starts(draw: st.DrawFn) -> commands.Start:
    cursor: dict[str, st.SearchStrategy[Any]] = {
        "from_": INTEGERS,
        "channels": CHANNELS,
        "hold": HOLDS,
        "read_only": st.booleans(),
    }
    attach = draw(st.sampled_from([None, False, True]))
    values = draw(
        st.fixed_dictionaries(
            {"argv": ARGV, "attach": st.just(attach)},
            optional={
                "path": os_texts(1),
                "env": ENV,
                "cwd": os_texts().map("/{}".format),
                "name": NAMES,
                "labels": LABELS,
                "pty": messages_of(records.Pty),
                **DECLARED,
                "keep": st.integers(commands.KEEP_MIN, commands.KEEP_MAX),
                "key": st.text(min_size=1, max_size=commands.KEY_MAX),
                **(cursor if attach else {}),
            },
        ).filter(without_two_roots)
    )
    merge = draw(st.sampled_from([None, True] if "pty" in values else [None, True, False]))
    return commands.Start(merge=merge, **values)


@st.composite
def _changes(draw: st.DrawFn) -> commands.Change:
    whole = draw(st.sampled_from([None, False, True]))
    values = draw(
        st.fixed_dictionaries(
            {"process": TEXTS, **({"argv": ARGV} if whole else {})},
            optional={
                "generation": INTEGERS,
                **({} if whole else {"argv": ARGV}),
                "path": os_texts(1),
                "env": ENV,
                "cwd": os_texts().map("/{}".format),
                "name": NAMES,
                "labels": LABELS,
                "pty": messages_of(records.Pty),
                **DECLARED,
            },
        ).filter(without_two_roots)
    )
    merge = draw(st.sampled_from([None, True] if "pty" in values else [None, True, False]))
    return commands.Change(whole=whole, merge=merge, **values)


SPECIAL: dict[type[Any], Any] = {
    records.Pty: lambda: _derived(records.Pty, rows=SIZES, columns=SIZES, term=WORDS),
    specs.Step: lambda: STEPS,
    specs.Restart: lambda: RESTARTS,
    specs.Ready: lambda: READIES,
    specs.Log: lambda: LOGS,
    whom.RunAs: lambda: _derived(whom.RunAs, **RUN_AS),
    whom.Sandbox: lambda: _derived(whom.Sandbox, writable=tuples_of(WHOLE_PATHS)),
    commands.Start: _starts,
    commands.Change: _changes,
    commands.Stop: lambda: _derived(commands.Stop, steps=STOPS),
    commands.Watch: lambda: _derived(commands.Watch, stats=st.integers(commands.STATS_MIN, commands.STATS_MAX)),
    commands.Prune: lambda: _derived(commands.Prune, age=st.integers(0, commands.AGE_MAX)),
    commands.Attach: lambda: _derived(commands.Attach, channels=CHANNELS, hold=HOLDS),
    commands.List: lambda: _derived(commands.List, limit=st.integers(1, commands.LIST_LIMIT)),
    commands.Data: lambda: _derived(commands.Data, at=st.integers(0, INTEGER_MAX)),
    commands.Kill: lambda: st.one_of(
        st.builds(
            commands.Kill,
            signal=SIGNALS,
            scope=st.none() | st.sampled_from(records.Scope),
            generation=st.none() | INTEGERS,
            **whom,
        )
        for whom in ({"process": TEXTS}, {"to": INTEGERS})
    ),
    commands.Resize: lambda: _derived(commands.Resize, rows=SIZES, columns=SIZES),
}


def declared_in(module: Any, base: type[Any]) -> list[type[Any]]:
    """The messages of one kind that a module declares."""
    return [
        found
        for found in vars(module).values()
        if isinstance(found, type)
        and issubclass(found, base)
        and found is not base
        and found.__module__ == module.__name__
    ]


REQUESTS = declared_in(commands, commands.Request)
REPLIES = declared_in(answers, answers.Reply)
EVENTS = declared_in(answers, answers.Event)

# Version 1: what its encoding can say.

V1_STRINGS = os_texts()
V1_PAYLOADS = st.binary(max_size=60)
V1_REQUESTS = st.one_of(
    st.builds(commands.Start, argv=ARGV, env=ENV, attach=st.just(True)),
    st.builds(commands.Attach, process=V1_STRINGS),
    st.just(commands.List()),
    st.builds(commands.Data, to=st.just(2), payload=V1_PAYLOADS),
    st.builds(commands.Kill, to=st.just(2), signal=SIGNALS),
)


@st.composite
def v1_records(draw: st.DrawFn) -> told.ProcessRecord:
    """A record as a version-1 client has it: an id, and a status with its code."""
    id = draw(V1_STRINGS)
    return told.ProcessRecord(id=id, argv=(id,), **draw(_V1_STATUSES))


_U16 = st.integers(0, 0xFFFF)
_V1_STATUSES = st.one_of(
    st.fixed_dictionaries({"state": st.just(records.State.RUNNING), "pid": _U16}),
    st.fixed_dictionaries({"state": st.just(records.State.EXITED), "code": st.integers(0, 255) | st.none()}),
    st.fixed_dictionaries({"state": st.just(records.State.EXITED), "signal": SIGNALS}),
)
V1_EVENTS = st.one_of(
    st.builds(answers.Output, channel=st.sampled_from([1, 2]), payload=V1_PAYLOADS),
    _V1_STATUSES.map(lambda status: answers.Status(**status)),
)
V1_REPLIES: dict[type[Any], st.SearchStrategy[Any]] = {
    answers.Ok: st.just(answers.Ok()),
    answers.Attached: st.builds(answers.Attached, process=v1_records()),
    answers.Listing: st.builds(answers.Listing, processes=tuples_of(v1_records())),
}
