"""The seams of netdaemon, each with more than one implementation; knows none of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

__all__ = ["IDirectTransport", "ILauncher", "IOutputProtocol", "IPeerCredentials"]


class ILauncher(Interface):
    """Whoever is the parent of the children: it forks, and it keeps the exit status until that is recorded.

    Everything above it works from what it hands over, a `netdaemon.keeper.launch.Launched`: descriptors, a pid
    and a pidfd.
    """

    def launch(spec: Any) -> Deferred[Any]:
        """Fork and execute *spec*, a `netdaemon.keeper.launch.Spec`.

        :return: fires with the `Launched` once the program has been executed; its descriptors belong to the
            caller then. Fails with `netdaemon.keeper.launch.LaunchError`; no child is left in that case.
        """

    def collect(launched: Any) -> Deferred[Any]:
        """The exit status of a child whose pidfd has become readable; may be asked again until `release`.

        :return: fires with a `netdaemon.keeper.launch.ExitStatus`, or with None: ask again a little later.
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

    def release(launched: Any) -> None:
        """The exit status has been recorded: the kernel may forget the child, and its pid be used again."""


class IDirectTransport(Interface):
    """A transport that can send several buffers in one system call, without keeping a copy where it need not."""

    waiting = Attribute("How many bytes wait to be sent; at 0 the next `sendParts` goes to the kernel at once.")

    def sendParts(parts: Sequence[bytes | memoryview]) -> None:
        """Send *parts* after all that waits. What the kernel does not take is copied: the caller may overwrite it."""


class IPeerCredentials(Interface):
    """A transport that knows from the kernel who is at the other end."""

    def peerCredentials() -> tuple[int, int, int]:
        """(pid, uid, gid) as they were when the other end connected."""


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

    def outputGivenUp(count: int) -> None:
        """The disk is full: *count* bytes that were kept have made room for newer ones. Told now and then."""
