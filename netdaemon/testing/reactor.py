"""A reactor for tests: its clock stands still until it is advanced, its descriptors are real; knows no daemon."""

from __future__ import annotations

import select
from typing import Any

from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor, IWriteDescriptor
from twisted.internet.task import Clock
from zope.interface import implementer


@implementer(IReactorFDSet)
class MemoryReactor(Clock):
    """A clock that stands still until it is advanced, and descriptors that are looked at when `turn` is called."""

    def __init__(self) -> None:
        super().__init__()
        self._readers: dict[int, IReadDescriptor] = {}
        self._writers: dict[int, IWriteDescriptor] = {}

    def addReader(self, reader: IReadDescriptor) -> None:
        self._readers[reader.fileno()] = reader

    def addWriter(self, writer: IWriteDescriptor) -> None:
        self._writers[writer.fileno()] = writer

    def removeReader(self, reader: IReadDescriptor) -> None:
        self._readers = {number: one for number, one in self._readers.items() if one is not reader}

    def removeWriter(self, writer: IWriteDescriptor) -> None:
        self._writers = {number: one for number, one in self._writers.items() if one is not writer}

    def removeAll(self) -> list[Any]:
        both = [*self._readers.values(), *self._writers.values()]
        self._readers.clear()
        self._writers.clear()
        return both

    def getReaders(self) -> list[Any]:
        return list(self._readers.values())

    def getWriters(self) -> list[Any]:
        return list(self._writers.values())

    def turn(self) -> bool:
        """Serve every descriptor that is ready, and every call that is due now; False if there was nothing."""
        poll = select.poll()
        for number in self._readers.keys() | self._writers.keys():
            wanted = (select.POLLIN if number in self._readers else 0) | (
                select.POLLOUT if number in self._writers else 0
            )
            poll.register(number, wanted)
        busy = False
        for number, event in poll.poll(0):
            reader, writer = self._readers.get(number), self._writers.get(number)
            if reader is not None and event & (select.POLLIN | select.POLLHUP | select.POLLERR):
                reader.doRead()
                busy = True
            elif writer is not None:
                writer.doWrite()
                busy = True
        due = [call for call in self.getDelayedCalls() if call.getTime() <= self.seconds()]
        self.advance(0)
        return busy or bool(due)
