"""All benchmarks of netdaemon, one after the other: within ten minutes on two cores, or a minute with --smoke."""

from __future__ import annotations

from benchmarks.harness import run
from benchmarks.listing import listing
from benchmarks.many import many
from benchmarks.requests import requests
from benchmarks.restart import restart
from benchmarks.scale import scale
from benchmarks.spawn import spawn
from benchmarks.terminal import terminal
from benchmarks.throughput import throughput

ALL = (throughput, terminal, requests, spawn, scale, listing, many, restart)

if __name__ == "__main__":
    run({benchmark.__name__: benchmark for benchmark in ALL}, __doc__ or "")
