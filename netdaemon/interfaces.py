"""The seams of netdaemon, each with more than one implementation; knows none of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

__all__ = ["IDirectTransport", "ILauncher", "IOutputProtocol", "IPeerCertificate", "IPeerCredentials", "IPort"]


class ILauncher(Interface):
    """Whoever is the parent of the children: it forks, and it keeps the exit status until that is recorded.

    Everything above it works from what it hands over, a `netdaemon.keeper.child.Launched`: descriptors, a pid
    and a pidfd. Where it outlives this program it keeps duplicates, and has to be told of what is closed or added.
    """

    def launch(id: str, spec: Any, spool: int, shared: Any = None) -> Deferred[Any]:
        """Fork and execute *spec*, a `netdaemon.keeper.child.Spec`, for the process *id* with this spool.

        :param shared: descriptors by role, as for `share`: they are shared before the program is executed.
        :return: fires with the `Launched` once the program has been executed; its descriptors belong to the
            caller then. Fails with `netdaemon.keeper.child.LaunchError`; no child is left in that case.
        """

    def share(id: str, role: str, descriptor: int) -> None:
        """A process has one more descriptor that is to outlive this program; it stays the caller's.

        Raises OSError where that cannot be made sure of now.
        """

    def withdraw(launched: Any, *roles: str, at_once: bool = False) -> None:
        """The caller has closed these, and nobody is to have them open any more: in a moment, or *at_once*."""

    def forget(id: str) -> None:
        """There is no such process any more."""

    def collect(launched: Any) -> Deferred[Any]:
        """The exit status of a child whose pidfd has become readable; may be asked again until `release`.

        :return: fires with a `netdaemon.keeper.child.ExitStatus`, or with None: ask again a little later.
        """

    def signal(launched: Any, number: int, scope: str) -> None:
        """Send a signal to a child that has not been released: to it alone (``process``), to its process ``group``,
        or to all that descends from it (``tree``).

        Raises ProcessLookupError where nobody is left to get it.
        """

    def kill_trees(launched: Sequence[Any]) -> None:
        """SIGKILL to all of these children, and to all that descends from any of them, in one go.

        Who has exited is passed over. Raises OSError where the descendants cannot be found, and nobody has been killed
        then; or where one of the children may not be signalled.
        """

    def leftovers(id: str) -> list[int]:
        """The pids of those that descend from any child of a process and have not exited, the children themselves too;
        only where they were launched with a mark. Raises OSError where they cannot be found now.
        """

    def kill_leftovers(id: str) -> None:
        """SIGKILL to all of these, in one go. Raises OSError where they cannot be found, and nobody has been killed."""

    def release(launched: Any) -> None:
        """The exit status has been recorded: the kernel may forget the child, and its pid be used again."""


class IKeeper(ILauncher):
    """A launcher whose children outlive this program, and which hands them to the next."""

    pid = Attribute("The keeper's process id.")
    kept = Attribute("Whether there is a keeper now.")
    instance = Attribute("Which daemon's processes these are; the same for all daemons that follow one another.")
    restarts = Attribute("How many times in a row the keeper has started a daemon because one was killed.")
    on_stop = Attribute("Called when somebody has told the keeper to end: everything is to end in order.")

    def open() -> list[tuple[str, int, dict[str, int]]]:
        """Get through to the keeper; what it has: process ids, pids, and descriptors by role, which are ours then.

        Raises `netdaemon.errors.NetdaemonError` where there is none and none can be had.
        """

    def resume(launched: Any) -> Deferred[Any]:
        """A start that another daemon was in the middle of; fires or fails as that of `launch`."""

    def secure() -> bool:
        """Whether there is a keeper that has everything, at this moment; one that is dead is replaced."""

    def farewell() -> None:
        """This program ends, and its processes go on."""

    def end() -> None:
        """There are no processes any more, and need be no keeper."""

    def close() -> None:
        """Say no more, and hear no more."""


class IDirectTransport(Interface):
    """A transport that can send several buffers in one system call, without keeping a copy where it need not."""

    waiting = Attribute("How many bytes wait to be sent; at 0 the next `sendParts` goes to the kernel at once.")

    def sendParts(parts: Sequence[bytes | memoryview]) -> None:
        """Send *parts* after all that waits. What the kernel does not take is copied: the caller may overwrite it."""


class IMeteredTransport(Interface):
    """A transport of which can be said how much it reads at once."""

    readMost = Attribute("How many bytes it reads at once at most: may be lowered, and raised again to what it was.")


class IPeerCredentials(Interface):
    """A transport that knows from the kernel who is at the other end."""

    def peerCredentials() -> tuple[int, int, int]:
        """(pid, uid, gid) as they were when the other end connected."""

    def peerGroups() -> frozenset[int]:
        """The supplementary groups as they were then. Raises OSError where they cannot be told, or not all of them."""


class IPeerCertificate(Interface):
    """A transport that knows from TLS who is at the other end.

    It calls its protocol's ``handshakeCompleted`` when it does; before that, nothing is delivered.
    """

    def peerCertificate() -> tuple[str, tuple[str, ...]]:
        """The pin of the other end's key, and the names in its certificate: see `netdaemon.policy.principals`.

        Raises `netdaemon.errors.Denied` where it has shown none.
        """


class IPort(Interface):
    """A place of this machine's that clients may connect to from others."""

    address = Attribute("Where that is, as people write it.")

    def listen(build: Any, reactor: Any) -> Any:
        """Accept connections, for which *build* makes protocols; a `netdaemon.sockets.listener.Listener`."""

    def reload() -> None:
        """Read all files anew. Raises `netdaemon.errors.NetdaemonError` where one is of no use; all stays as it was."""

    def remove() -> None:
        """Nobody is to listen there after all."""


class IOutputProtocol(Interface):
    """A process protocol that reads output where it is kept, and is told only that there is more of it."""

    def outputArrived(channel: int, length: int) -> None:
        """*length* bytes of *channel* have been appended."""

    def outputBlocked() -> None:
        """There is output and no room for it: the child waits until ``resumeProducing`` is called."""

    def outputFailed(error: OSError) -> None:
        """Output could not be kept (a full disk); the child waits, and it is tried again by itself."""

    def outputStuck() -> None:
        """The child has exited, and what it left cannot be kept unless nobody holds what was kept before."""

    def exitSaved() -> bool:
        """Whether the exit that was told is safe, and the kernel may forget it; asked again until it is."""

    def outputGivenUp(count: int) -> None:
        """The disk is full: *count* bytes that were kept have made room for newer ones. Told now and then."""
