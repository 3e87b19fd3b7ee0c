"""A daemon in memory, and clients of it."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from netdaemon.client.client import Client
from netdaemon.client.reconnecting import PATIENCE
from netdaemon.client.session import Session
from netdaemon.daemon.audit import Audit
from netdaemon.daemon.judging import Policy
from netdaemon.daemon.service import DaemonService
from netdaemon.daemon.settings import Settings
from netdaemon.errors import ConnectFailed, ConnectionClosed
from netdaemon.interfaces import ILauncher
from netdaemon.policy.owner import OwnerPolicy
from netdaemon.testing.children import FakeChild, FakeLauncher
from netdaemon.testing.reactor import MemoryReactor
from netdaemon.testing.transport import MemoryTransport, join
from netdaemon.wire.answers import Welcome

T = TypeVar("T")

# A test in which this many turns change nothing more is not going to come to an end.
MAX_TURNS = 10_000


class MemoryDaemon:
    """A daemon whose children are `FakeChild` objects, and whose time stands still.

    :param launcher: another launcher, to run real programs; `until` waits for them.
    :param reactor: the one that *launcher* uses.
    :param policy: gives the policy, at the start and at every reload; the daemon's own user and root may do everything
        unless said.
    :param audit: where decisions are told.
    :ivar listening: whether it can be connected to; set it to False for a daemon that is away.
    """

    def __init__(
        self,
        *,
        launcher: ILauncher | None = None,
        settings: Settings | None = None,
        reactor: MemoryReactor | None = None,
        policy: Callable[[], Policy] = OwnerPolicy.of_this_process,
        audit: Audit | None = None,
    ) -> None:
        self.reactor = MemoryReactor() if reactor is None else reactor
        self.fake = FakeLauncher()
        self.shutdown_asked = False
        self.listening = True
        self._connections: list[MemoryTransport] = []
        self._clients: list[Client] = []
        self.service = DaemonService(
            self.reactor,
            self.fake if launcher is None else launcher,
            Settings() if settings is None else settings,
            policy=policy,
            audit=audit,
            on_shutdown=self._shutdown,
        )
        self.service.startService()

    def _shutdown(self) -> None:
        self.shutdown_asked = True

    @property
    def children(self) -> list[FakeChild]:
        """The children, in the order in which they were started."""
        return self.fake.children

    def connect(
        self,
        *,
        reconnect: bool = True,
        patience: float | None = PATIENCE,
        on_disconnected: Callable[[ConnectionClosed], object] | None = None,
        on_reconnected: Callable[[Welcome], object] | None = None,
    ) -> Deferred[Client]:
        """A client of this daemon; fires once HELLO has been answered, which takes a `settle`.

        The parameters are those of `netdaemon.connect`.
        """

        def connected(session: Session) -> Client:
            client = Client(
                session,
                dial=self._dial if reconnect else None,
                patience=patience,
                on_disconnected=on_disconnected,
                on_reconnected=on_reconnected,
            )
            self._clients.append(client)
            return client

        return self._dial().addCallback(connected)

    def _dial(self) -> Deferred[Session]:
        if not self.listening:
            error = ConnectFailed("nobody listens")
            error.__cause__ = ConnectionRefusedError(errno.ECONNREFUSED, "nobody listens")
            return fail(error)
        session = Session(self.reactor)
        self._connections = [one for one in self._connections if one.connected]
        self._connections.append(join(self.reactor, self.service.build(False), session, os.geteuid()))
        return session.greeted().addCallback(lambda _: session)

    def drop_connections(self, *, to_daemon: int = 0, to_client: int = 0) -> None:
        """Cut all connections, as a daemon does that is killed; what was under way is lost.

        Clients connect again when time passes: ``reactor.advance(1)`` is enough.

        :param to_daemon: bytes that still come through to the daemon, which may be a part of a message.
        :param to_client: bytes that still come through to the client, after that.
        """
        connections, self._connections = self._connections, []
        for one in connections:
            one.cut(to_daemon)
            one.other.cut(to_client)
            one.abortConnection()

    def settle(self, waiting: Deferred[T] | None = None) -> T | None:
        """Let everything happen that can, without time passing.

        :return: the result of *waiting*, or None if it has none yet; its failure is raised.
        """
        for _ in range(MAX_TURNS):
            if not self.reactor.turn():
                break
        else:
            raise RuntimeError(f"something still happens after {MAX_TURNS} turns")
        if waiting is None or not waiting.called:
            return None
        results: list[T] = []
        failures: list[Failure] = []
        waiting.addCallbacks(results.append, failures.append)
        if failures:
            failures[0].raiseException()
        return results[0] if results else None

    def until(self, condition: Callable[[], object], patience: float = 20.0) -> None:
        """Let things happen until *condition* is so; *patience* is in real seconds, as real programs need.

        :raises TimeoutError: it was not so in time.
        """
        deadline = time.monotonic() + patience
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"it has not happened within {patience:g} seconds")
            if not self.reactor.turn():
                time.sleep(0.001)

    def connect_now(self, **options: Any) -> Client:
        """A client of this daemon, connected; options as for `connect`."""
        client = self.settle(self.connect(**options))
        assert client is not None
        return client

    def stop(self) -> None:
        """End the daemon and its clients, and clean up. Children that still run die of the first signal."""
        self.listening = False
        for child in self.children:
            if child.status is None:
                child.exit(signal=15)
        stopping = self.service.stopService()
        for _ in range(100):
            self.settle()
            if stopping.called:
                break
            self.reactor.advance(0.1)
        for client in self._clients:
            self.settle(client.disconnect())
        for child in self.children:
            child.clean()
