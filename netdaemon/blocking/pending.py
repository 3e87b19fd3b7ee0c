"""A request on its way to its answer; knows no connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from netdaemon.errors import NetdaemonError
from netdaemon.wire.answers import Message
from netdaemon.wire.commands import Request

if TYPE_CHECKING:
    from netdaemon.blocking.process import RemoteProcess
    from netdaemon.blocking.watch import Watch

OnAnswer = Callable[[Message | NetdaemonError], None]


class Pending:
    """A request that was submitted: whether its answer has come, and what it is.

    :ivar id: its id on the wire; 0 while it waits for a connection.
    :ivar answer: a reply, or the error to raise; None until it has come.
    :ivar abandoned: nobody waits for the answer any more.
    :ivar process: the attachment, if the answer is one.
    :ivar watch: the subscription, if the request is for one.
    :ivar target: the attachment or subscription that the request is about (its ``to``).
    :ivar resumes: what the request takes up anew, on a new connection.
    """

    __slots__ = ("_on_answer", "abandoned", "answer", "id", "process", "request", "resumes", "target", "watch")

    def __init__(self, request: Request, on_answer: OnAnswer | None = None) -> None:
        self.id = 0
        self.request = request
        self.answer: Message | NetdaemonError | None = None
        self.abandoned = False
        self.process: RemoteProcess | None = None
        self.watch: Watch | None = None
        self.target: RemoteProcess | Watch | None = None
        self.resumes: RemoteProcess | Watch | None = None
        self._on_answer = on_answer

    def settle(self, answer: Message | NetdaemonError) -> None:
        """The answer has come. There is only one."""
        if self.answer is None:
            self.answer = answer
            if self._on_answer is not None:
                self._on_answer(answer)
