"""What is said to a keeper and heard from it, over a link that the reactor watches; knows no processes."""

from __future__ import annotations

import errno
from typing import Any

from twisted.logger import Logger

from netdaemon.keeper.messages import AGAIN, Torn, pack
from netdaemon.process.keeper_link import KeeperLink
from netdaemon.watching import Watched

# Seconds until the keeper is told at the latest what nobody waits for: what is said within them wakes it once.
SAID_WITHIN = 0.005

# The keeper's revision that spawns children, and hears several things at once.
SPAWNS = 3

# The one that gives children their marks.
MARKS = 4

# The one that knows as whom a child is to run.
WHOM = 5

_log = Logger()


class KeeperConversation(Watched):
    """One keeper after another, as a base class: it hears, and sees to its death.

    :param reactor: `IReactorFDSet` and `IReactorTime`.
    :param link: not yet open.
    :ivar kept: whether there is a keeper now.
    """

    def __init__(self, reactor: Any, link: KeeperLink) -> None:
        self.reactor = reactor
        self.kept = False
        self._link = link
        self._writing = False
        self._later: Any = None
        # What is told a little later, together; nothing is lost if it never is.
        self._unsaid: list[tuple[bytes, ...]] = []
        self._saying: Any = None

    def _heard(self, fields: list[bytes], descriptors: list[int]) -> None:
        """The keeper has said something; the descriptors are ours."""
        raise NotImplementedError

    def _torn(self, fields: list[bytes]) -> None:
        """Something was said whose descriptors found no place here."""
        raise NotImplementedError

    def _lost(self) -> None:
        """The keeper has hung up."""
        raise NotImplementedError

    def _mention(self, *fields: bytes) -> None:
        """Tell the keeper soon, and before anything else that it is told.

        If this program is killed first, the next one finds the same again and says it.
        """
        self._unsaid.append(fields)
        if self._saying is None:
            self._saying = self.reactor.callLater(SAID_WITHIN, self._say)

    def _say(self) -> None:
        """Tell what was to be told soon."""
        if self._saying is not None and self._saying.active():
            self._saying.cancel()
        self._saying = None
        unsaid, self._unsaid = self._unsaid, []
        if len(unsaid) > 1 and self._link.revision >= SPAWNS:
            self._tell(b"several", *map(pack, unsaid))
            return
        for fields in unsaid:
            self._tell(*fields)

    def _send(self, *fields: bytes) -> None:
        """Tell the keeper something that needs no descriptor."""
        self._say()
        self._tell(*fields)

    def _tell(self, *fields: bytes) -> None:
        try:
            self._post(*fields)
        except OSError as error:
            _log.error("the keeper could not be told {word}: {error}", word=fields[0].decode(), error=error)

    def _post(self, *fields: bytes, descriptors: tuple[int, ...] = ()) -> None:
        """Tell the keeper; one that is dead is seen to be, and its successor is told all that counts.

        :raises OSError: there is no descriptor or memory for it.
        """
        if not self.kept:
            return
        try:
            self._link.channel.send(*fields, descriptors=descriptors)
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN):
                raise
        self._see_to_the_rest()

    def _see_to_the_rest(self) -> None:
        """What could not be sent goes out as soon as it can."""
        channel = self._link.channel
        if channel.stalled and self._later is None:
            self._later = self.reactor.callLater(AGAIN, self._flush_later)
        if channel.waits is not self._writing:
            self._writing = channel.waits
            if channel.waits:
                self.reactor.addWriter(self)
            else:
                self.reactor.removeWriter(self)

    def _flush_later(self) -> None:
        self._later = None
        self.doWrite()

    def fileno(self) -> int:
        return self._link.channel.fileno()

    def logPrefix(self) -> str:
        return "keeper"

    def doWrite(self) -> None:
        try:
            self._link.channel.flush()
        except OSError:
            pass
        self._see_to_the_rest()

    def doRead(self) -> None:
        while self.kept:
            try:
                received = self._link.channel.receive()
            except EOFError:
                self._lost()
                return
            except Torn as error:
                _log.error("the keeper: {error}", error=error)
                self._torn(error.fields)
                continue
            except OSError as error:
                # No memory; it is there the next time.
                _log.error("the keeper: {error}", error=error)
                return
            if received is None:
                return
            self._heard(*received)

    def connectionLost(self, reason: Any) -> None:
        """The reactor saw a hang-up."""
        if self.kept:
            self.doRead()
            if self.kept and self.fileno() >= 0:
                self.watch()

    def _let_go(self) -> None:
        """Watch the connection no more. A successor is told what is so, not how it came to be."""
        self.unwatch()
        self._unsaid.clear()
        if self._saying is not None:
            self._saying.cancel()
            self._saying = None
        self.reactor.removeWriter(self)
        self._writing = False
        if self._later is not None:
            self._later.cancel()
            self._later = None
