"""One generation of a process: its child, its input, how far its streams have come; knows no clients and no policy."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.error import ProcessExitedAlready

from netdaemon.errors import (
    AlreadyExited,
    BadRequest,
    Denied,
    LimitReached,
    NotRunning,
    StdinClosed,
    StdinFull,
    StdinHole,
    UnknownChannel,
)
from netdaemon.keeper.child import ExitStatus, Launched
from netdaemon.process.identity import Signs
from netdaemon.process.launches import launch_id
from netdaemon.process.stdin import Hole, Stdin
from netdaemon.process.transport import ProcessTransport
from netdaemon.wire.records import Channel, Scope

# What a terminal's line discipline takes for the end of input, unless the program has changed it.
END_OF_TRANSMISSION = b"\x04"

# It is ready at once, and nobody looks whether it is alive.
NO_SIGNS = Signs()


class Run:
    """What there is of one generation.

    :param process: its process's id.
    :param begin: the offset at which its output begins.
    :param terminal: whether it has a terminal.
    :param merge: whether its outputs are one.
    :param signs: by which it is known to be ready, and alive.
    :ivar closed: the channels whose end has come; replaced, never changed.
    :ivar ready: whether it is known to be ready; not of one that has exited.
    :ivar fault: why it counts as a failure however it exits; empty: it does not.
    :ivar ended: whether it has exited and its streams are closed.
    :ivar launched: its child as the launcher has it; None: it does not run yet.
    """

    def __init__(
        self,
        process: str,
        generation: int,
        stdin: Stdin,
        begin: int = 0,
        *,
        terminal: bool = False,
        merge: bool = False,
        signs: Signs = NO_SIGNS,
    ) -> None:
        self.terminal = terminal
        self.merge = merge
        self.signs = signs
        self.process = process
        self.generation = generation
        self.stdin = stdin
        self.begin = begin
        self.closed: frozenset[int] = frozenset()
        self.started: int | None = None
        self.exited: int | None = None
        self.status: ExitStatus | None = None
        self.pid: int | None = None
        self.ready = False
        self.fault = ""
        self.ended = False
        self.launched: Launched | None = None
        self.transport: ProcessTransport | None = None

    @property
    def launch_id(self) -> str:
        """What its launcher knows it by."""
        return launch_id(self.process, self.generation)

    def _what(self) -> str:
        return f"process {self.process}"

    def _not_yet(self, **told: Any) -> NotRunning:
        return NotRunning(f"{self._what()} does not run yet", **told)

    # --- input -------------------------------------------------------------------------------------------------------

    def write(self, data: bytes | memoryview, at: int | None, *, whole: bool) -> int:
        """Feed it what is no EOF; see `netdaemon.process.record.Process.write`."""
        repeated = 0 if at is None else max(0, min(self.stdin.end - at, len(data)))
        if repeated == len(data):
            return repeated
        told: dict[str, Any] = {"process": self.process, "accepted": repeated, "end": self.stdin.end}
        if self.status is not None:
            raise AlreadyExited(f"{self._what()} has exited", **told)
        if self.transport is None:
            raise self._not_yet(**told)
        if self.stdin.closed:
            raise StdinClosed(f"the standard input of {self._what()} is closed", **told)
        if whole and len(data) > self.stdin.room:
            raise self._full(told)
        try:
            accepted = self.stdin.accept(data, at)
        except Hole:
            raise self._hole(at) from None
        except OSError as error:
            raise StdinFull(
                f"input for {self._what()} cannot be kept: {os.strerror(error.errno or 0)}",
                number=error.errno,
                **told,
            ) from error
        if whole and accepted < len(data):
            # The disk was full in the middle of it.
            self.stdin.take_back(accepted)
            accepted = 0
        if not accepted:
            raise self._full(told)
        self.transport.feed()
        return accepted

    def _full(self, told: dict[str, Any]) -> StdinFull:
        return StdinFull(f"{self.stdin.waiting} bytes wait for {self._what()}, and {self.stdin.window} may", **told)

    def _hole(self, at: int | None) -> StdinHole:
        return StdinHole(
            f"at is {at}, and {self.stdin.end} is the end of what has been taken",
            process=self.process,
            field="at",
            accepted=0,
            end=self.stdin.end,
        )

    def write_eof(self, at: int | None) -> bool:
        """Close its input; whether that has changed what is to be saved."""
        if at is not None and at > self.stdin.end:
            raise self._hole(at)
        if self.transport is None and self.status is None:
            raise self._not_yet(process=self.process)
        if self.transport is None or self.stdin.closed:
            return False
        if self.terminal:
            # A byte like any other: it counts, and what comes again at its offset is a repeat.
            self.write(END_OF_TRANSMISSION, at, whole=False)
            return False
        self.transport.closeStdin()
        return True

    # --- what is done to it ------------------------------------------------------------------------------------------

    @property
    def channels(self) -> tuple[int, ...]:
        """The outputs that it has."""
        return (Channel.STDOUT,) if self.merge else (Channel.STDOUT, Channel.STDERR)

    def close_output(self, channel: int) -> None:
        """Close our end of one of its outputs."""
        if channel not in self.channels:
            raise UnknownChannel(
                f"{self._what()} has no channel {channel}; all its output is on 1",
                process=self.process,
                field="channel",
            )
        if self.transport is not None:
            self.transport.closeChildFD(channel)

    def kill(self, number: int, scope: Scope) -> None:
        """Send one signal."""
        if self.transport is None and self.status is None:
            raise self._not_yet(process=self.process)
        try:
            if self.transport is None:
                raise ProcessExitedAlready
            self.transport.signal(number, scope.value)
        except ProcessExitedAlready:
            raise AlreadyExited(f"{self._what()} has exited", process=self.process) from None
        except PermissionError as error:
            raise Denied(
                f"{self._what()} runs as somebody whom this daemon may not signal", process=self.process
            ) from error
        except OSError as error:
            raise LimitReached(
                f"whom the signal is for cannot be found out: {os.strerror(error.errno or 0)}; "
                "scope group and scope process need no looking",
                process=self.process,
                field="scope",
                number=error.errno,
            ) from error

    def resize(self, rows: int, columns: int) -> None:
        """Set its terminal's size."""
        if not self.terminal:
            raise BadRequest(
                f"{self._what()} has no terminal; it was started with pipes", process=self.process, field="to"
            )
        if self.transport is None and self.status is None:
            raise self._not_yet(process=self.process)
        if self.transport is None:
            raise AlreadyExited(f"{self._what()} has exited", process=self.process)
        try:
            self.transport.resize(rows, columns)
        except OSError as error:
            raise BadRequest(
                f"the terminal of {self._what()} takes no size: {os.strerror(error.errno or 0)}",
                process=self.process,
                number=error.errno,
            ) from error

    def abandon(self, *, finish: bool = False) -> None:
        """Let go of its child and streams, and tell nobody.

        :param finish: keep what is in its pipes first: somebody that it left behind may have written it.
        """
        transport = self.transport
        if transport is not None:
            if finish:
                # Which may find that they are all at their end, and have it let go already.
                transport.finish()
            transport.abandon()
            self.transport = None
        self.stdin.close()


def channel_roles(launched: Launched, *, merge: bool) -> dict[int, int]:
    """The descriptors of a child's streams, by channel; -1: there is no such one any more."""
    streams = {Channel.STDIN: launched.stdin, Channel.STDOUT: launched.stdout}
    if not merge:
        streams[Channel.STDERR] = launched.stderr
    return {int(channel): descriptor for channel, descriptor in streams.items()}
