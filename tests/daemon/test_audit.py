"""What is told of every decision that changes or refuses something, and what never is."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from netdaemon.daemon.audit import Audit
from netdaemon.policy.verbs import Verb
from netdaemon.wire.answers import (
    Started,
)
from netdaemon.wire.commands import (
    Attach,
    Data,
    Info,
    Inspect,
    Kill,
    List,
    Reload,
    Start,
    Stop,
)
from netdaemon.wire.specs import Step
from netdaemon.wire.whom import RunAs
from tests.daemon.judged import (
    ALL,
    NEEDED,
    OPERATOR,
    PLAYER,
    Rights,
    Stage,
    furnished,
)
from tests.daemon.support import world


def test_the_audit_has_what_changes_and_what_is_refused(stage: Stage) -> None:
    player = furnished(stage)
    stage.ask(player, Inspect(process="web"))
    stage.ask(player, List())
    id, _ = stage.w.ask(player, Attach(process="web"))
    stage.ask(player, Data(to=id, payload=b"hidden\n"))
    stage.rights.verbs = ALL - {Verb.SIGNAL}
    stage.ask(player, Kill(process="web", signal=9))
    stage.ask(player, Start(argv=("a", "\x1b[31m\n\x7f\u202e"), env=("PASSWORD=hunter2",)))
    lines = stage.audit()
    assert [(line["request"], line["result"]) for line in lines] == [
        ("start", "done"),
        ("start", "done"),
        ("attach", "done"),
        ("kill", "denied"),
        ("start", "done"),
    ]
    assert lines[3]["why"] == "it may not"
    assert lines[3]["signal"] == "KILL"
    assert lines[0]["rule"] == "yes"
    assert lines[0]["process"] == stage.w.daemon.service.table.find("web").id
    assert all(line["principal"] == f"uid:{PLAYER}" for line in lines)
    text = stage.path.read_text()
    assert "hunter2" not in text
    assert "hidden" not in text
    assert text.isascii()
    assert text.replace("\n", "").isprintable()
    assert stage.path.stat().st_mode & 0o777 == 0o600


def test_an_audit_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    audit = Audit(str(tmp_path / "a"))
    rights = Rights()
    with world(policy=lambda: rights, audit=audit) as w:
        operator = w.client(uid=OPERATOR)
        audit.close()
        (tmp_path / "a").unlink()
        (tmp_path / "a").mkdir()
        assert isinstance(w.ask(operator, Start(argv=("a",)))[1], Started)
        degraded = w.ask(operator, Info())[1].degraded  # type: ignore[union-attr]
        assert any("audit" in one for one in degraded)
        (tmp_path / "a").rmdir()
        w.ask(operator, Start(argv=("b",)))
    audit.close()
    assert [json.loads(line)["argv"] for line in (tmp_path / "a").read_text().splitlines()] == [["b"]]


@pytest.mark.parametrize("kind", ["symlink", "fifo", "two names", "directory"])
def test_what_is_no_file_of_its_own_is_no_audit(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "audit"
    if kind == "symlink":
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    else:
        (tmp_path / "other").touch()
        path.hardlink_to(tmp_path / "other")
    try:
        Audit(str(path))
    except OSError as error:
        assert error.errno in (errno.ELOOP, errno.EINVAL, errno.EISDIR, errno.ENXIO)
    else:
        raise AssertionError("it was taken")


def test_a_renamed_audit_is_begun_anew(stage: Stage) -> None:
    operator = stage.client(OPERATOR)
    stage.ask(operator, Start(argv=("a",)))
    stage.path.rename(stage.path.with_suffix(".1"))
    stage.ask(operator, Reload())
    assert [line["request"] for line in stage.audit()] == ["reload"]


def test_the_page_on_it_has_every_key(stage: Stage) -> None:
    page = (Path(__file__).parents[2] / "docs" / "audit.rst").read_text()
    player, operator = furnished(stage), stage.client(OPERATOR)
    stage.ask(player, Stop(process="gone", steps=(Step(signal=15), Step(stdin=b"quit\n"))))
    for make, _ in NEEDED:
        stage.ask(operator, make())
    stage.ask(operator, Start(argv=("a",), path="/bin/a", run_as=RunAs(user="root", chroot="/srv")))
    stage.rights.out = {PLAYER}
    stage.client(PLAYER)
    stage.w.daemon.settle()
    keys = {key for line in stage.audit() for key in line}
    assert {"user", "uid", "chroot", "select", "rule", "why", "steps", "hold"} <= keys
    assert not {key for key in keys if f"``{key}``" not in page}
    assert not {line["request"] for line in stage.audit() if f"``{line['request']}``" not in page}
