"""Fuzzes every target for a while, one after the other: python -m fuzz [--seconds N] [--keep] [TARGET...].

What fails is written down in fuzz/corpus, so that it is tried again by the tests; with --keep what leads to code that
was not reached before is, too, if it is short.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from fuzz.corpus import keep, kept, seeds
from fuzz.targets import TARGETS

# Of what is kept besides failures: so many of the shortest, and none that is longer, as they are in the repository.
KEPT, SHORT = 40, 400

# Seconds that one input may take: what takes longer is a fault, too.
PATIENCE = 10

# A reader of some bytes that needs more memory than this has a fault.
MEGABYTES = 1024


def main() -> int:
    """The exit code: whether something has failed; 0 with a word where there is no atheris."""
    parser = argparse.ArgumentParser(prog="python -m fuzz")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], metavar="TARGET")
    asked = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        print("skipped: atheris is not installed, and there may be no wheel of it for this Python")
        return 0
    print(f"{'target':<14} {'inputs':>10} {'per second':>10} {'reached':>8} {'kept':>5}  failed")
    failed = [_fuzz(one, asked.seconds, asked.keep) for one in asked.targets or TARGETS]
    return 1 if any(failed) else 0


def _fuzz(target: str, seconds: int, keeping: bool) -> bool:
    """One line of the table; whether it has failed."""
    with tempfile.TemporaryDirectory() as place:
        folder, found = Path(place) / "inputs", Path(place) / "found"
        for one in (folder, found):
            one.mkdir()
        for number, octets in enumerate([*seeds(target), *kept(target)]):
            (folder / f"{number}").write_bytes(octets)
        options = [f"-max_total_time={seconds}", f"-timeout={PATIENCE}", f"-rss_limit_mb={MEGABYTES}"]
        options += [f"-artifact_prefix={found}/", "-print_final_stats=1"]
        began = time.monotonic()
        told = _run(target, *options, str(folder))
        taken = time.monotonic() - began
        count = int(re.findall(r"stat::number_of_executed_units: *(\d+)", told)[-1])
        reached = re.findall(r"cov: (\d+)", told)
        failures = [one.read_bytes() for one in found.iterdir()]
        keep(target, failures)
        if keeping:
            # Whatever has reached something new was written there, too.
            known = {*seeds(target), *kept(target)}
            new = sorted({one.read_bytes() for one in folder.iterdir()} - known, key=len)
            room = max(0, KEPT - len(kept(target)))
            keep(target, [one for one in new if len(one) <= SHORT][:room])
        why = ""
        if failures:
            why = "; ".join(re.findall(r"^.*(?:Error|Exception|ERROR)\b.*$", told, re.MULTILINE)[:2]) or "yes"
        columns = f"{target:<14} {count:>10,} {count / taken:>10,.0f} {reached[-1] if reached else '?':>8}"
        print(f"{columns} {len(kept(target)):>5}  {why or 'nothing'}", flush=True)
        if failures:
            print(told[-4000:], file=sys.stderr)
        return bool(failures)


def _run(target: str, *options: str) -> str:
    command = [sys.executable, "-m", "fuzz.one", target, *options]
    told = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return (told.stdout + told.stderr).decode(errors="replace")


if __name__ == "__main__":
    sys.exit(main())
