"""What a launcher knows the generations of processes by; so that it need not know that there are any."""

from __future__ import annotations


def launch_id(process: str, generation: int) -> str:
    """What a launcher knows a generation by: the first by the process's id, so that it reads as it always did."""
    return process if generation == 1 else f"{process}-{generation}"


def process_of(launch_id: str) -> str:
    """The other way round: whose it is."""
    return launch_id.partition("-")[0]
