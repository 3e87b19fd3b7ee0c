"""What was ever found by fuzzing, and what it begins with, is as it should be; needs no atheris."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fuzz.corpus import FOLDER, kept, seeds
from fuzz.targets import TARGETS
from netdaemon.keeper.messages import pack
from tests.support import LONG


@pytest.mark.parametrize("target", TARGETS)
def test_the_corpus(target: str) -> None:
    """Each input that is kept, in plain Python."""
    for octets in [b"", *seeds(target), *kept(target)]:
        try:
            TARGETS[target](octets)
        except Exception as error:
            raise AssertionError(f"{target} fails with {octets.hex()}") from error


def test_every_file_belongs_to_a_target() -> None:
    """What is kept under a name that no target has would never be tried."""
    assert {path.stem for path in FOLDER.iterdir()} <= set(TARGETS)


def test_messages_within_messages() -> None:
    """Too long for the corpus: a keeper does not follow them to the end of its stack."""
    message = pack([b"sync"])
    for _ in range(2000):
        message = pack([b"several", message])
    TARGETS["keeper-words"](b"\0" + len(message).to_bytes(2, "big") + message)


@pytest.mark.skipif(not LONG, reason="fuzzing is for `make fuzz`; here its corpus is replayed")
def test_fuzzing() -> None:
    """Targets run under atheris."""
    pytest.importorskip("atheris", reason="atheris is not installed: there is no wheel of it for every Python")
    told = subprocess.run([sys.executable, "-m", "fuzz", "--seconds=1", "box", "keeper-state"], capture_output=True)
    assert told.returncode == 0, told.stderr.decode(errors="replace")
    assert told.stdout.count(b"nothing") == 2
