"""Who is connected, and whether there is room for one more: in all, for each, of those that say nothing; no policy."""

from __future__ import annotations

from collections import Counter

from netdaemon.daemon.peer import Peer
from netdaemon.daemon.settings import Settings
from netdaemon.errors import LimitReached


class Clients:
    """The connections there are.

    :ivar all: every one of them, from when it was accepted until it is gone.
    """

    def __init__(self, settings: Settings) -> None:
        self.all: set[Peer] = set()
        self._settings = settings
        # Those that have not said HELLO, the oldest first.
        self._newcomers: dict[Peer, None] = {}
        # Whose those are that were let in, and how many each has.
        self._whose: dict[Peer, str] = {}
        self._each: Counter[str] = Counter()
        # Those that are being closed: they take nobody's place.
        self._ended: set[Peer] = set()

    @property
    def newcomers(self) -> int:
        """How many have not said HELLO."""
        return len(self._newcomers)

    @property
    def slowed(self) -> int:
        """How many are over their rate, and are not read at this moment."""
        return sum(one.slowed for one in self.all)

    def arrived(self, peer: Peer) -> None:
        """There is one more; where too many have not said HELLO, the one that has taken the longest over it goes."""
        self.all.add(peer)
        self._newcomers[peer] = None
        most = self._settings.max_newcomers
        if len(self._newcomers) > most:
            self._end(next(iter(self._newcomers)), f"{most} connections have not said HELLO, and this was the oldest")

    def admit(self, peer: Peer, who: str) -> None:
        """Count *peer* as one of *who*; it may have been another's before it showed a token.

        :raises LimitReached: there is no room in all, or for that one.
        """
        known = self._forget(peer)
        try:
            if who not in self._settings.own:
                self._check_each(who)
            if not known:
                self._make_room(peer, own=who in self._settings.own)
        except LimitReached:
            self.refused(peer)
            raise
        self._each[who] += 1
        self._whose[peer] = who

    def _check_each(self, who: str) -> None:
        if self._each[who] >= self._settings.max_clients_each:
            raise LimitReached(
                f"{who} has {self._each[who]} connections, and that is the limit for each; "
                "close one, or have the daemon's --clients-each raised"
            )

    def _make_room(self, peer: Peer, *, own: bool) -> None:
        """Where all places are taken, end one that has not said HELLO; one of root's only for another of his."""
        settings = self._settings
        room = settings.max_clients - (0 if own else settings.reserved_clients)
        while len(self.all) - len(self._ended) > room:
            for one in self._newcomers:
                if one is not peer and (own or self._whose.get(one) not in settings.own):
                    self._end(one, f"{room} clients are connected, and this had not said HELLO")
                    break
            else:
                why = "" if room == settings.max_clients else ", but for root and its own user"
                raise LimitReached(f"{room} clients are connected, and that is the daemon's limit{why}")

    def _end(self, peer: Peer, why: str) -> None:
        self.refused(peer)
        peer.crowd_out(f"{why}; connect again")

    def refused(self, peer: Peer) -> None:
        """It is being closed, and does not count any more."""
        self._newcomers.pop(peer, None)
        self._forget(peer)
        self._ended.add(peer)

    def greeted(self, peer: Peer) -> None:
        """It has said HELLO."""
        self._newcomers.pop(peer, None)

    def gone(self, peer: Peer) -> None:
        """It is not there any more."""
        self.all.discard(peer)
        self._ended.discard(peer)
        self._newcomers.pop(peer, None)
        self._forget(peer)

    def _forget(self, peer: Peer) -> bool:
        """Count it as nobody's; whether it was somebody's."""
        who = self._whose.pop(peer, None)
        if who is None:
            return False
        self._each[who] -= 1
        if not self._each[who]:
            del self._each[who]
        return True
