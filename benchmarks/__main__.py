"""All benchmarks of netdaemon, one after the other: within ten minutes on two cores, or a minute with --smoke."""

from __future__ import annotations

from benchmarks.harness import run
from benchmarks.requests import requests
from benchmarks.scale import scale
from benchmarks.spawn import spawn
from benchmarks.throughput import throughput

if __name__ == "__main__":
    run({"throughput": throughput, "requests": requests, "spawn": spawn, "scale": scale}, __doc__ or "")
