"""A process's output from the past to the present: from its log files, then from what the daemon keeps; prints nothing.

Where one ends the other goes on, at the offset that the daemon tells: no byte is left out, and none comes twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING

from netdaemon.errors import AlreadyExited, BadRequest, TimedOut
from netdaemon.logs.cri import Line
from netdaemon.logs.reader import Moved, read
from netdaemon.wire.answers import Gap, Output
from netdaemon.wire.told import Logged

if TYPE_CHECKING:
    from netdaemon.blocking import Client, RemoteProcess
    from netdaemon.wire.told import ProcessRecord

# How often the files are begun with anew because they are set aside and removed faster than they are read.
ATTEMPTS = 20

# Seconds without output after which it is said that there is none: what waits for the end of a line need not wait on.
IDLE = 1.0

# What so many lines are looked for in at first; if they are longer, in so many times as much.
LINE_GUESS = 256
GUESS_LEAST = 64 * 1024
GUESS_GROWS = 8


class History:
    """The output of one process.

    :param note: told in a line what is missing.
    """

    def __init__(self, client: Client, record: ProcessRecord, note: Callable[[str], None]) -> None:
        self._client = client
        self._record = record
        self._note = note
        self._process: RemoteProcess | None = None

    def past(self, begin: int | None = None, since: int | None = None) -> Iterator[Line]:
        """What there is now: all of it, or from an offset on, or from a time on, in microseconds since the epoch."""
        self._leave()
        offset = begin
        if self._record.log is not None:
            try:
                offset = yield from self._from_files(self._record.log.path, begin, since)
            except (OSError, BadRequest) as error:
                why = error.strerror if isinstance(error, OSError) else error
                self._note(f"the log {self._record.log.path} cannot be read here: {why}; this is what the daemon keeps")
        try:
            self._process = process = self._client.attach(self._record.id, from_=offset, read_only=True)
        except AlreadyExited:
            # Only its record is kept any more.
            return
        if process.attached.begin and offset is None and since is None:
            self._note(f"{process.attached.begin} earlier bytes are no longer kept")
        yield from self._kept(process, since)

    def last_lines(self, count: int) -> list[Line]:
        """So many lines from the end, in order; the last may be unfinished."""
        end = self._client.inspect(self._record.id).end
        guess = max(GUESS_LEAST, count * LINE_GUESS)
        while True:
            begin = max(0, end - guess)
            # Before the first offset a log may have what an earlier process wrote.
            found, complete = _last(self.past(begin or None), count)
            if complete or not begin:
                return found
            guess *= GUESS_GROWS

    def live(self) -> Iterator[Line | None]:
        """What comes after that, until it has exited for good; None whenever there was nothing for a while."""
        process = self._process
        while process is not None:
            try:
                event = process.next_event(IDLE)
            except TimedOut:
                yield None
                continue
            if event is None:
                return
            line = self._line(event)
            if line is not None:
                yield line
            elif process.exited:
                return

    def _leave(self) -> None:
        if self._process is not None:
            self._process.detach()
            self._process = None

    # --- from the files ----------------------------------------------------------------------------------------------

    def _from_files(self, path: str, begin: int | None, since: int | None) -> Generator[Line, None, int]:
        """Gives the lines, and returns the offset after them: one from which on the daemon has all."""
        offset = yield from self._file_lines(path, begin, since)
        while True:
            record = self._client.inspect(self._record.id)
            if record.begin <= offset:
                return offset
            # So much has come while we read that not all of it is kept; in the files it is.
            last, offset = offset, (yield from self._file_lines(path, offset, since))
            if offset <= last:
                return offset

    def _file_lines(self, path: str, begin: int | None, since: int | None) -> Generator[Line, None, int]:
        """The same, once through. What is begun anew goes on after the last line that was given, by its time."""
        logged = Logged()

        def ask() -> Logged:
            nonlocal logged
            told = self._client.look(self._record.id).logged
            if told is None:
                raise Moved("it is not logged any more")
            logged = told
            return told

        given = 0
        for _ in range(ATTEMPTS):
            skip = given
            try:
                for line in read(path, ask, since=since, begin=begin, complain=self._note):
                    if skip and line.time == since:
                        skip -= 1
                        continue
                    given = given + 1 if line.time == since else 1
                    since, begin, skip = line.time, None, 0
                    yield line
                return logged.offset
            except Moved:
                continue
        self._note("a part of the log was removed while it was read")
        return logged.offset

    # --- from the daemon ---------------------------------------------------------------------------------------------

    def _kept(self, process: RemoteProcess, since: int | None) -> Iterator[Line]:
        position = process.attached.offset
        while position < process.attached.end:
            event = process.next_event()
            if event is None:
                return
            if isinstance(event, Gap):
                position = event.to
            elif isinstance(event, Output):
                position = event.offset + len(event.payload)
            line = self._line(event)
            if line is not None and (since is None or line.time >= since):
                yield line

    def _line(self, event: object) -> Line | None:
        """An event as a line, or as many as it has."""
        if isinstance(event, Gap):
            self._note(f"{event.to - event.from_} bytes are no longer kept")
        elif isinstance(event, Output) and event.payload:
            return Line(event.time, event.channel, event.payload)
        return None


def _last(pieces: Iterator[Line], count: int) -> tuple[list[Line], bool]:
    """The last *count* lines of *pieces*, and whether there was another before them: the first may have been cut."""
    # Each line as what has come of it: mostly one piece, more if it was written in parts.
    kept: deque[list[Line]] = deque(maxlen=count)
    unfinished: dict[int, list[Line]] = {}
    begun = 0
    for piece in pieces:
        for data in lines_of(piece.data):
            parts = unfinished.get(piece.channel)
            if parts is None:
                begun += 1
                parts = unfinished[piece.channel] = []
                kept.append(parts)
            parts.append(Line(piece.time, piece.channel, data))
            if data.endswith(b"\n"):
                del unfinished[piece.channel]
    return [part for parts in kept for part in parts], begun > count


def lines_of(data: bytes) -> Iterator[bytes]:
    """The lines of *data*, each with its newline; the last may have none."""
    start = 0
    while end := data.find(b"\n", start) + 1:
        yield data[start:end]
        start = end
    if start < len(data):
        yield data[start:]
