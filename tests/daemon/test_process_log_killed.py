"""The program that logs is killed again and again: the log is what was written, to the byte."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from netdaemon.logs.cri import Decoder, Line
from tests.daemon.killed_logger import output
from tests.logs.support import files_of, octets_of
from tests.support import LONG, Figure

KILLS = 300 if LONG else 20


def test_killed_again_and_again(tmp_path: Path, figure: Figure) -> None:
    path = tmp_path / "log"
    done = subprocess.run(
        [sys.executable, "-m", "tests.daemon.killed_logger", str(path), str(KILLS)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    totals = dict(json.loads(line) for line in done.stdout.splitlines())
    decoder = Decoder()
    logged = {1: bytearray(), 2: bytearray()}
    for one in files_of(path):
        for line in decoder.feed(octets_of(one)):
            assert isinstance(line, Line), line
            logged[line.channel] += line.data
    assert list(decoder.end()) == []
    for channel, total in totals.items():
        assert total > 50_000
        written = bytearray()
        for piece in output(channel):
            written += piece
            if len(written) >= total:
                break
        assert len(written) == total
        assert logged[channel] == written
    assert len(files_of(path)) > 5
    figure("log after kill -9", f"{KILLS} kills, {sum(totals.values())} bytes, 0 wrong", "0 wrong")
