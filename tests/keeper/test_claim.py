"""A claim is taken or revoked, never both, and what is revoked executes nothing."""

from __future__ import annotations

import errno
import os
import signal
import threading
from pathlib import Path

import pytest

from netdaemon.keeper import claim
from netdaemon.keeper.child import LaunchError, Spec
from netdaemon.keeper.launch import spawn
from tests.support import Figure


def start(claimed: int, *argv: bytes, env: tuple[bytes, ...] = ()) -> int:
    """A child with nothing to read and nobody to write to; its exit status, once it has ended."""
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        pid = spawn(Spec(path=argv[0], argv=argv, env=env), (nothing, nothing, nothing), claimed)
    finally:
        os.close(nothing)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_taken() -> None:
    """Whoever comes to revoke it is told that it is too late."""
    claimed = claim.make()
    assert start(claimed, b"/bin/true") == 0
    assert not claim.revoke(claimed)
    os.close(claimed)


def test_revoked(tmp_path: Path) -> None:
    """Nothing is executed, as often as it is tried."""
    claimed = claim.make()
    assert claim.revoke(claimed)
    for _ in range(2):
        with pytest.raises(LaunchError) as refused:
            start(claimed, b"/bin/touch", os.fsencode(tmp_path / "executed"))
        assert (refused.value.stage, refused.value.errno) == ("exec", errno.EPERM)
    assert claim.revoke(claimed), "it is as free as it was"
    assert not list(tmp_path.iterdir())
    os.close(claimed)


def test_a_program_that_is_looked_for() -> None:
    """Places in PATH that do not have it take the claim and execute nothing: the next one can still take it."""
    claimed = claim.make()
    assert start(claimed, b"true", env=(b"PATH=/nowhere:/etc:/bin",)) == 0
    assert not claim.revoke(claimed)
    os.close(claimed)


def test_one_of_both(tmp_path: Path, figure: Figure) -> None:
    """Revoked by one while another starts: it has run if, and only if, whoever revoked it was told so."""
    ran = 0
    for number in range(200):
        claimed, told = claim.make(), []
        file = tmp_path / f"{number}"
        ready = threading.Barrier(2)

        def revoke(claimed: int = claimed, told: list[bool] = told, ready: threading.Barrier = ready) -> None:
            ready.wait()
            told.append(claim.revoke(claimed))

        thread = threading.Thread(target=revoke)
        thread.start()
        ready.wait()
        try:
            start(claimed, b"/bin/touch", os.fsencode(file))
        except LaunchError as error:
            assert error.errno == errno.EPERM
        thread.join()
        assert file.exists() is not told[0]
        ran += file.exists()
        os.close(claimed)
    figure("200 claims taken and revoked at once", f"{ran} taken", "each one or the other")


def test_a_parent_that_is_killed_in_the_middle(tmp_path: Path) -> None:
    """The child has been made and the parent killed: what decides is who comes first to the claim."""
    for revoked in (True, False):
        claimed = claim.make()
        file = tmp_path / f"{revoked}"
        reading, writing = os.pipe2(0)
        parent = os.fork()
        if not parent:
            os.close(reading)
            os.read(0, 0)
            if revoked:
                os.kill(os.getpid(), signal.SIGKILL)
            spawn(Spec(path=b"/bin/touch", argv=(b"touch", os.fsencode(file))), (0, 1, 2), claimed)
            os.kill(os.getpid(), signal.SIGKILL)
        os.close(writing)
        os.waitpid(parent, 0)
        assert os.read(reading, 1) == b"", "the child, too, is at its end"
        os.close(reading)
        assert claim.revoke(claimed) is revoked
        assert file.exists() is not revoked
        os.close(claimed)
