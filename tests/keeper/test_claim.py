"""A claim is taken or revoked, never both, and what is revoked executes nothing."""

from __future__ import annotations

import errno
import os
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
