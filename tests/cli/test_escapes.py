"""Whatever strangers call things, what ndtool prints and what the daemon logs of it can be printed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from netdaemon.wire.records import Pty
from netdaemon.wire.specs import Log, Policy, Ready, Restart, Step
from tests.cli.support import Daemon, Ndtool

# The title of a terminal, a colour by C1, a line of somebody else's, text from right to left, DEL, and no UTF-8.
EVIL = "\x1b]0;owned\x07\n\x9b31mforged\u202etxt\x7f\u2066" + os.fsdecode(b"\xff")

# The same where it has to be text.
TEXT = EVIL[:-1]


def unprintable(text: str) -> set[str]:
    """Control characters but for the ends of lines, and what changes the direction of text."""
    return {one for one in text if not one.isprintable() and one != "\n"}


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory of an evil name, in which logs may be."""
    directory = Path(tempfile.mkdtemp(prefix="nd"))
    (directory / EVIL).mkdir(mode=0o700)
    yield directory / EVIL
    shutil.rmtree(directory)


def everything(daemon: Daemon, place: Path) -> None:
    """A process all of which is evil: it runs, its log fails, and it is stopped in its own way; and another fails."""
    with daemon.client() as client:
        process = client.start(
            ["sh", "-c", "while read line; do echo $line; done", EVIL],
            name="evil",
            env=os.environ,
            cwd=str(place),
            labels={"label": TEXT},
            pty=Pty(term=f"vt100{TEXT}"),
            stop=[Step(stdin=EVIL.encode("utf-8", "surrogateescape")), Step(kill=True)],
            ready=Ready(output=TEXT.replace("\n", ""), timeout=86_400_000),
            restart=Restart(policy=Policy.NEVER),
            log=Log(path=str(place / EVIL.replace("/", ""))),
        )
        process.detach()


def test_what_ndtool_prints(ndtool: Ndtool, daemon: Daemon, place: Path) -> None:
    everything(daemon, place)
    shutil.rmtree(place)
    ndtool("logs", "evil")
    for arguments in (
        ["list"],
        ["list", "--labels"],
        ["list", "--", "*"],
        ["inspect", "evil"],
        ["top", "--once"],
        ["label", "evil"],
        ["--json", "list"],
        ["--json", "inspect", "evil"],
        ["inspect", EVIL],
        ["start", "--", f"/nonexistent/{EVIL}"],
        ["start", "--cwd", f"/nonexistent/{EVIL}", "--", "true"],
        ["start", "--name", EVIL, "--", "true"],
        ["start", "--label", f"{EVIL}=", "--", "true"],
        ["start", "-d", "--log", f"{place}/{EVIL}", "--", "true"],
        ["apply", "--dry-run", f"/nonexistent/{EVIL}"],
        ["kill", "evil", EVIL],
        ["stop", "-v", "evil"],
        ["events"],
        ["--json", "events"],
        ["rm", "evil"],
        ["prune"],
    ):
        done = ndtool(*arguments)
        text = (done.stdout + done.stderr).decode()
        assert text, arguments
        assert unprintable(text) == set(), (arguments, text)


def test_what_the_daemon_logs(ndtool: Ndtool, daemon: Daemon, place: Path) -> None:
    """Of a log that fails, of a program that is not there any more, and of what cannot be launched."""
    everything(daemon, place)
    program = place / "program"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    with daemon.client() as client:
        process = client.start([str(program)], restart=Restart(policy=Policy.ON_FAILURE, delay=1, longest=1, burst=3))
        process.detach()
        shutil.rmtree(place)
        client.wait(process.id, timeout=60)
        client.reload()
    text = daemon.log.read_text(errors="surrogateescape")
    assert "No such file" in text
    # Twisted indents what goes on on the next line.
    assert unprintable(text.replace("\n\t", "\n")) == set()
    assert not [line for line in text.splitlines() if line.startswith(("\x9b", "forged"))]


def test_it_would_be_found() -> None:
    assert unprintable(EVIL) >= {"\x1b", "\x07", "\x9b", "\u202e", "\x7f", "\u2066"}
