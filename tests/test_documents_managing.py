"""The pages on managing say what the code does: their words, numbers, examples, and the tests that they name."""

from __future__ import annotations

import ast
import dataclasses
import itertools
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from netdaemon.apply import read
from netdaemon.cli.group import ndtool
from netdaemon.daemon import database_file, ending, journal, leftovers, peer, settings, statistics
from netdaemon.daemon.chronicle import DATABASE
from netdaemon.daemon.starting import ID_LENGTH
from netdaemon.defaults import JOURNAL_SUFFIX, NOTIFY_SUFFIX
from netdaemon.keeper.limits import MARKS
from netdaemon.patterns import LINE, SIZE_MAX, WITHIN
from netdaemon.process import saved, signals, stopping
from netdaemon.process.restarting import JITTER
from netdaemon.tap import Options
from netdaemon.wire import commands, records, specs
from netdaemon.wire.specs import Policy, Restart, milliseconds
from netdaemon.wire.told import Happening, Stats
from tests.support import RunningDaemon

ROOT = Path(__file__).parents[1]
NAMES = ("identity", "stopping", "restarting", "readiness", "events", "trees", "statistics", "users")
PAGES = {name: (ROOT / "docs" / f"{name}.rst").read_text(encoding="utf-8") for name in NAMES}
README = (ROOT / "README.rst").read_text(encoding="utf-8")
ARCHITECTURE = (ROOT / "docs" / "architecture.rst").read_text(encoding="utf-8")

PROTOCOL = (ROOT / "docs" / "protocol.rst").read_text(encoding="utf-8")

# A page that is shorter leaves something out; one that is longer is not read.
LEAST, MOST = 60, 150

ALL = {**PAGES, "README": README, "architecture": ARCHITECTURE}
for other in ("survival", "systemd"):
    ALL[other] = (ROOT / "docs" / f"{other}.rst").read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    """The code of one language on a page."""
    found = re.findall(rf"^\.\. code-block:: {language}\n\n((?:    [^\n]*\n|\n)+)", page, re.MULTILINE)
    return [textwrap.dedent(block).strip() + "\n" for block in found]


@pytest.mark.parametrize("name", NAMES)
def test_neither_too_short_nor_too_long(name: str) -> None:
    assert LEAST <= PAGES[name].count("\n") <= MOST


@pytest.mark.parametrize("name", NAMES)
def test_the_readme_leads_to_it(name: str) -> None:
    assert f"`docs/{name}.rst <docs/{name}.rst>`_" in README


@pytest.mark.parametrize("name", ALL)
def test_what_it_leads_to_is_there(name: str) -> None:
    place = ROOT if name == "README" else ROOT / "docs"
    for target in re.findall(r"<([^>:]+\.(?:rst|py|png|toml))>`_", ALL[name]):
        assert (place / target).is_file(), target


# --- the tests that are named ----------------------------------------------------------------------------------------


def named_tests(page: str) -> list[tuple[str, str]]:
    return re.findall(r"``(tests/[\w/]+(?:\.py)?)(?:::(\w+))?``", page)


@pytest.mark.parametrize("name", ALL)
def test_every_test_that_is_named_is_there(name: str) -> None:
    for path, test in named_tests(ALL[name]):
        place = ROOT / path
        assert place.exists(), path
        if test:
            tree = ast.parse(place.read_text(encoding="utf-8"))
            functions = [
                node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            ]
            assert test in functions, f"{path}::{test}"


@pytest.mark.parametrize("name", NAMES)
def test_a_page_says_what_proves_it(name: str) -> None:
    assert sum(bool(test) for _, test in named_tests(PAGES[name])) >= 4


def daemon_options() -> set[str]:
    options: Any = Options
    return {option.rstrip("=") for option in options().longOpt}


# --- examples --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*NAMES, "README"])
def test_specs(name: str, tmp_path: Path) -> None:
    found = blocks(ALL[name], "toml")
    assert found
    for number, block in enumerate(found):
        file = tmp_path / f"{name}{number}.toml"
        file.write_text(block, encoding="utf-8")
        assert read(file)


# What stands around the code on a page: it has a client, and what it started is gone after it.
AROUND = """\
import sys

from twisted.internet import task

import netdaemon


async def page(client):
{body}


async def main(reactor):
    client = await netdaemon.connect(reactor, f"unix:{{sys.argv[1]}}")
    await page(client)
    for record in await client.list():
        await client.stop(record.id, steps=[netdaemon.Step(kill=True)])
        await client.remove(record.id)


task.react(main)
"""


@pytest.mark.parametrize("name", NAMES)
def test_the_deferred_client(name: str, daemon: RunningDaemon) -> None:
    """The example prints what the page says."""
    (block,) = blocks(PAGES[name], "python")
    printed = re.search(r"^It prints::\n\n((?:    .*\n)+)", PAGES[name], re.MULTILINE)
    assert printed is not None
    done = subprocess.run(
        [sys.executable, "-c", AROUND.format(body=textwrap.indent(block, "    ")), daemon.path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == textwrap.dedent(printed[1])


def typed(page: str) -> Iterator[tuple[str, list[str]]]:
    """The commands of ndtool's in what was typed, and their options."""
    for line in re.findall(r"^    \$ (.*)$", page, re.MULTILINE):
        tokens = shlex.shlex(line, posix=True, punctuation_chars=True)
        for punctuation, group in itertools.groupby(tokens, lambda token: set(token) <= set("|;&()<>")):
            words = list(group)
            if punctuation or "ndtool" not in words:
                continue
            words = words[words.index("ndtool") + 1 :]
            words = words[: words.index("--")] if "--" in words else words
            while words[0].startswith("--"):
                assert words.pop(0) in before(), line
            yield words[0], [word.partition("=")[0] for word in words[1:] if re.match(r"--?[a-z]", word)]


def before() -> set[str]:
    return {option for parameter in ndtool.params for option in parameter.opts}


def options(command: str) -> set[str]:
    return {option for parameter in ndtool.commands[command].params for option in parameter.opts}


@pytest.mark.parametrize("name", [*NAMES, "README"])
def test_what_is_typed_can_be(name: str) -> None:
    for command, said in typed(ALL[name]):
        assert command in ndtool.commands, command
        assert set(said) <= options(command), (command, said)


@pytest.mark.parametrize("name", ALL)
def test_every_option_is_there(name: str) -> None:
    """Of ndtool, or of the daemon."""
    daemon = {f"--{option}" for option in daemon_options()}
    known = daemon | before() | set().union(*map(options, ndtool.commands)) | FOREIGN
    for option in re.findall(r"``[^`]*?(?<![\w-])(--[a-z][a-z-]+)", ALL[name]):
        assert option in known, option


# Of other programs.
FOREIGN = {"--help", "--ignore-signal", "--kill-whom", "--nodaemon", "--now", "--pidfile", "--user"}


def test_the_readme_has_every_option_of_the_daemon() -> None:
    there = daemon_options() - {"help", "version"}
    found = re.search(r"^Options of the daemon\n-+\n(.*?)^\w[^\n]*\n---", README, re.DOTALL | re.MULTILINE)
    assert found is not None
    assert set(re.findall(r"^``--([a-z-]+)", found[1], re.MULTILINE)) == there


def test_commands_that_are_named() -> None:
    for name in NAMES:
        for command in re.findall(r"``ndtool (?:--json )?([a-z]+)", PAGES[name]):
            assert command in ndtool.commands, (name, command)


@pytest.mark.parametrize("name", NAMES)
def test_names_of_the_wire(name: str) -> None:
    """Each request and event is in the protocol's description, by its name."""
    (said,) = re.findall(r"On the wire: (.*?)\n\n", PAGES[name], re.DOTALL)
    found = re.findall(r"(?<![\w$])[A-Z]{3,}\b", said)
    assert found
    for word in found:
        assert re.search(rf"^{word} \(0x", PROTOCOL, re.MULTILINE), word


# --- words and numbers -----------------------------------------------------------------------------------------------


def number(value: float) -> str:
    return f"{value:,.0f}"


def span(value: int) -> str:
    """A duration as the pages have it."""
    return re.sub(r"(\d)([a-z])", r"\1 \2", milliseconds(value))


USUAL = Restart(policy=Policy.ALWAYS)

SAID = {
    "identity": [
        f"{ID_LENGTH} letters and digits",
        f"1 to {commands.KEY_MAX} characters",
        f"{records.MAX_LABELS} at most, a key of 63 characters and a value of {records.MAX_LABEL_VALUE}",
        f"begin with ``{records.RESERVED_LABEL}``",
        f"the last {settings.EXITED} (``--exited``)",
        f"the last {number(settings.RECORDS)} (``--records``) and for {settings.DAYS:g} days",
    ],
    "stopping": [
        f"1 to {number(specs.STEP_TEXT_MAX)} bytes",
        f"{span(1)} to {span(specs.WAIT_MAX)}",
        f"more than {specs.STEPS_MAX} steps",
        f"``{'``, ``'.join(map(str, specs.USUAL_STOP))}``",
        f"has {stopping.AFTER_LAST:g} seconds more",
        f"{ending.PATIENCE:g} seconds at most",
        f"(``--grace``, {settings.GRACE:g} seconds)",
    ],
    "restarting": [
        f"``delay``     {span(USUAL.delay)} ",
        f"``longest``   {span(USUAL.longest)} ",
        f"``settled``   {span(USUAL.settled)} ",
        f"``burst``     {USUAL.burst} ",
        f"``interval``  {span(USUAL.interval)} ",
        f"within ``interval``, {specs.BURST_MAX} at most",
        f"Durations are {span(specs.WAIT_MAX)} at most",
    ],
    "readiness": [
        f"1 to {specs.READY_TEXT_MAX} characters",
        f"the first {number(LINE)} characters",
        f"more than {number(SIZE_MAX)} with",
        f"more than {WITHIN * 1000:g} ms of processor time",
        f"``timeout``, {span(1)} to {span(specs.WAIT_MAX)}",
        f"``watchdog``, {span(specs.WATCHDOG_MIN)} to {span(specs.WAIT_MAX)}",
        f"``SOCKET{NOTIFY_SUFFIX}/``",
    ],
    "events": [
        f"``{DATABASE}``",
        f"``SOCKET{JOURNAL_SUFFIX}``",
        f"most {journal.FLUSH * 1000:g} ms later",
        f"up to {number(journal.BATCH_MOST)} go into one commit",
        f"``--events``   {number(settings.EVENTS)} ",
        f"``--records``  {number(settings.RECORDS)} ",
        f"``--days``     {settings.DAYS:g} ",
        f"{journal.TRIM_MOST} rows at a time",
        f"its latest {saved.PENDING_MOST} events",
        f"up to {database_file.CHECKED_OCTETS >> 20} MiB",
        f"Of {number(peer.MAX_ATTACHMENTS)} attachments and subscriptions",
    ],
    "trees": [
        f"with {leftovers.PIDS_TOLD} pids at most",
        f"2 to the {MARKS.bit_length() - 1}st microseconds",
        f"({signals.PASSES} times at most)",
    ],
    "statistics": [
        f"every {commands.STATS_MIN} ms to {number(commands.STATS_MAX)} ms",
        f"in slices of {statistics.SLICE} processes",
    ],
}


@pytest.mark.parametrize(("name", "said"), [(name, said) for name, found in SAID.items() for said in found])
def test_numbers(name: str, said: str) -> None:
    assert one_line(said) in one_line(PAGES[name])


def one_line(text: str) -> str:
    """Wherever its lines end."""
    return " ".join(text.split())


def test_what_is_said_in_words() -> None:
    """A fifth, once a minute, every second, a second, a tenth of a second: these numbers are."""
    assert JITTER == 1 / 5
    assert (journal.RETAIN_EVERY, journal.RENEW_EVERY, journal.RETRY) == (60, 60, 1)
    assert leftovers.LOOK_AFTER == 1
    assert statistics.LEAST == 0.1


def test_every_policy_has_a_row() -> None:
    rows = re.findall(
        r"^``([a-z-]+)``  +stays exited|^``([a-z-]+)``  +is started again", PAGES["restarting"], re.MULTILINE
    )
    assert {one or other for one, other in rows} == {policy.value for policy in Policy}


def test_every_event_is_named() -> None:
    (words,) = re.findall(r"^(``created``.*?)\. ", PAGES["events"], re.DOTALL | re.MULTILINE)
    assert re.findall(r"``([a-z-]+)``", words) == [one.value for one in Happening]


def test_every_figure_is_named() -> None:
    assert re.findall(r"^``(\w+)``  ", PAGES["statistics"], re.MULTILINE) == [
        field.name for field in dataclasses.fields(Stats)
    ]


def test_what_a_change_changes() -> None:
    """Every field of a CHANGE is in the table, at once or later."""
    (rows,) = re.findall(r"^What is changed.*?\n(={10}.*?\n={10})", PAGES["identity"], re.DOTALL | re.MULTILINE)
    fields = {field.name for field in dataclasses.fields(commands.Change)} - {"process", "generation", "whole"}
    assert set(re.findall(r"``(\w+)``", rows)) - {"keep", "key"} == fields


# --- the list of modules ---------------------------------------------------------------------------------------------


def modules(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*.py") if path.name != "__init__.py"}


def rows() -> dict[str, str]:
    """The table of modules, by what is on its left."""
    found: dict[str, str] = {}
    (lines,) = re.findall(r"^={5,} +={5,}\n(.*?)^={5,} +={5,}\n", ARCHITECTURE, re.DOTALL | re.MULTILINE)
    last = ""
    for line in lines.splitlines():
        begun = re.match(r"``([^`]+)``  ", line)
        if begun is not None:
            last = begun[1]
            line = line[begun.end() :]
        found[last] = found.get(last, "") + line + "\n"
    return found


FOLDERS = sorted(
    str(path.parent.relative_to(ROOT / "netdaemon")) for path in (ROOT / "netdaemon").glob("*/**/__init__.py")
)


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_list_of_modules(folder: str) -> None:
    """Every module of the folder, and no other."""
    named = re.findall(r"``(\w+\.py)``", rows()[f"{folder}/"])
    assert len(named) == len(set(named))
    there = modules(ROOT / "netdaemon" / folder)
    assert set(named) - {"__main__.py"} == there - {"__main__.py"}


def test_the_list_of_folders() -> None:
    top = ROOT / "netdaemon"
    there = {f"{folder}/" for folder in FOLDERS} | modules(top)
    assert set(rows()) == there
