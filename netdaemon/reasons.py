"""How a process ended, as Twisted gives it to ``processExited`` and ``processEnded``; knows no process."""

from __future__ import annotations

from twisted.internet.error import ProcessDone, ProcessTerminated


def ended_by(code: int | None, signal: int | None, core: bool) -> ProcessDone | ProcessTerminated:
    """The reason; the wait status in it is put together from what is known."""
    if code == 0:
        return ProcessDone(0)
    if signal is not None:
        return ProcessTerminated(None, signal, signal | (0x80 if core else 0))
    # A status that the kernel could not tell is None: never 0, which would be success.
    return ProcessTerminated(code, None, None if code is None else code << 8)
