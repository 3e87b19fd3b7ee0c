"""Which processes a command is about: by id, name, glob and label, or all of them; knows no command."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from netdaemon.cli import output
from netdaemon.cli.failure import FAILED, Failure, explain
from netdaemon.cli.options import complete_process
from netdaemon.cli.reach import with_process
from netdaemon.errors import NetdaemonError, NoSuchProcess, TimedOut

if TYPE_CHECKING:
    from netdaemon.blocking import Client
    from netdaemon.wire.told import ProcessRecord

F = TypeVar("F", bound=Callable[..., Any])

# What makes a word a pattern, for the daemon, too. No name and no id has one of them.
_GLOB = frozenset("*?[")


@dataclass(frozen=True)
class Choice:
    """What was said of the processes that are meant.

    :ivar words: ids, names, beginnings of ids, and globs: a process is meant by any of them.
    :ivar terms: what the daemon selects by besides: a process must match all.
    :ivar all: every process, without a word.
    """

    words: tuple[str, ...]
    terms: tuple[str, ...] = ()
    all: bool = False

    @property
    def single(self) -> bool:
        """Whether it is one process, by its id or name."""
        return len(self.words) == 1 and not self.terms and not is_glob(self.words[0])


@dataclass(frozen=True)
class Chosen:
    """One that is meant, and what it is called in what is told: as it was asked for, or by its name."""

    called: str
    record: ProcessRecord

    @property
    def id(self) -> str:
        """The process's id."""
        return self.record.id


def is_over(record: ProcessRecord) -> bool:
    """Whether it has exited for good: it is not going to be started again by itself."""
    from netdaemon.wire.records import State

    return record.state in (State.EXITED, State.FAILED)


def is_glob(word: str) -> bool:
    """Whether *word* is a pattern, and no id or name."""
    return not _GLOB.isdisjoint(word)


label_option = click.option(
    "-l",
    "--label",
    "labels",
    multiple=True,
    metavar="KEY=VALUE",
    help="Only those with this label; VALUE may be a pattern. All of several must match.",
)
all_option = click.option("--all", "all_", is_flag=True, help="All processes.")


def processes_argument(function: F) -> F:
    """The argument PROCESS..., and what may stand in its place: -l and --all."""
    argument = click.argument("words", nargs=-1, metavar="[PROCESS]...", shell_complete=complete_process)
    return label_option(all_option(argument(function)))


def label_terms(labels: Sequence[str]) -> tuple[str, ...]:
    """What -l says, as the daemon selects by it; a key alone is that label with any value."""
    return tuple(f"label.{one}" if "=" in one else f"label.{one}=*" for one in labels)


def choice_of(context: click.Context, words: Sequence[str], labels: Sequence[str], all_: bool) -> Choice:
    """What the argument and the options say.

    :raises click.UsageError: nothing, or two things.
    """
    if words and all_:
        raise click.UsageError("--all is all processes, and PROCESS some of them", context)
    if not (words or labels or all_):
        raise click.UsageError("Missing argument 'PROCESS...': or say -l KEY=VALUE, or --all", context)
    return Choice(tuple(words), label_terms(labels), all_)


def choose(
    client: Client,
    choice: Choice,
    *,
    as_json: bool,
    useful: Callable[[ProcessRecord], bool] | None = None,
    missing_is_well: bool = False,
) -> tuple[list[Chosen], int]:
    """Those that are meant, each once; and the exit code so far. A word that matches nothing is told.

    :param useful: where nothing but labels or --all was said, only those that there is something to do with.
    :param missing_is_well: a word that matches nothing is as good as one that does.
    """
    found: dict[str, Chosen] = {}
    code = 0
    for word in choice.words:
        try:
            for one in _matching(client, word, choice.terms):
                found.setdefault(one.id, one)
        except (NetdaemonError, Failure) as error:
            if client.lost is not None or isinstance(error, TimedOut):
                # Nobody answers the other words, either.
                raise
            failure = explain(error)
            if not (missing_is_well and isinstance(failure.error, NoSuchProcess)):
                failure.tell(as_json=as_json)
                code = FAILED
    if not choice.words:
        for record in client.list(*choice.terms):
            if useful is None or useful(record):
                found[record.id] = Chosen(_name(record), record)
        if not found and not as_json:
            output.note("no process matches: nothing to do")
    return list(found.values()), code


def _matching(client: Client, word: str, terms: tuple[str, ...]) -> list[Chosen]:
    if is_glob(word):
        found = [Chosen(_name(record), record) for record in client.list(word, *terms)]
    else:
        record = with_process(client, word, client.inspect)
        kept = [record] if not terms else client.list(f"id={record.id}", *terms)
        found = [Chosen(word, one) for one in kept]
    if not found:
        raise NoSuchProcess(f"{word!r} matches nothing" + (" that has these labels" if terms else ""), process=word)
    return found


def _name(record: ProcessRecord) -> str:
    return record.name or record.id


def each(client: Client, targets: Sequence[Chosen], action: Callable[[Chosen], object], *, as_json: bool) -> int:
    """Do *action* with each of *targets*; what fails is told, and keeps no other from being tried. The exit code.

    :raises ConnectionClosed: there is no daemon any more.
    """
    code = 0
    for one in targets:
        try:
            action(one)
        except (NetdaemonError, Failure) as error:
            if client.lost is not None:
                raise
            told = explain(error).tell(as_json=as_json)
            code = code or told
    return code


def document(choice: Choice, told: Sequence[output.Plain]) -> str:
    """What was done, for programs: of one that was named its own object, else an array of them."""
    return output.json_text(told[0] if choice.single and told else list(told))
