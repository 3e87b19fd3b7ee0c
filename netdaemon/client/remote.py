"""A process at the other end of the connection: its record, its input, its output, its exit; knows no encoding."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger

from netdaemon.client.attachment import Attachment, Make
from netdaemon.client.exits import Exits
from netdaemon.client.output import Delivery, Listener
from netdaemon.client.session import Session
from netdaemon.client.stdin import Stdin
from netdaemon.errors import ConnectionClosed, NetdaemonError, NotAttached, Refusal
from netdaemon.resumption import BEGINNINGS, OVER, RUNS, Told, is_news
from netdaemon.signal_names import number_of
from netdaemon.wire.answers import Attached, End, Event, Gap, Output, Status
from netdaemon.wire.commands import Attach, Data, Flow, Kill, Resize, Start, Wait
from netdaemon.wire.records import Channel, Reason, Scope, State, Until
from netdaemon.wire.told import ProcessRecord

if TYPE_CHECKING:
    from netdaemon.client.client import Client

# What a terminal's line discipline takes for the end of input, unless the program has changed it.
END_OF_TRANSMISSION = b"\x04"

BOTH = (Channel.STDOUT, Channel.STDERR)

_log = Logger()


class RemoteProcess:
    """A process of a daemon, and our attachment to it if there is one. Made by `Client.start` and `Client.attach`.

    Output waits here until somebody takes it: a `Listener` given to `listen`, or whoever iterates over `output`. When
    too much waits, the daemon is asked to send no more; it then drops or holds, as the attachment was asked for.

    A lost connection is nothing that is to be seen here, if the client makes another one: the attachment goes on over
    that, with the next output, and with the input that the daemon does not have.

    Nor does the attachment end when the process is started again: its next generation goes on at the same offsets, its
    channels are open once more, and so is its input, though what was written meanwhile was refused. STATUS tells it:
    `backoff` when a generation has exited that another will follow, `exited` or `failed` when none will, until
    somebody asks for one.

    :ivar client: whose it is.
    :ivar offset: the offset of the next output to come; attach from here to go on.
    :ivar attached: whether output comes and input is taken, now or when there is a connection again.
    """

    def __init__(self, client: Client, record: ProcessRecord) -> None:
        self.client = client
        self.offset = record.end
        self.attached = False
        self._record = record
        # What has been told since of what is in it: a record is made anew when somebody asks for it.
        self._changed: dict[str, Any] = {}
        self._attachment: Attachment | None = None
        self._stdin: Stdin | None = None
        # A new attachment is told again what has come.
        self._told = Told()
        # What was over when we came; that it exited then ends nothing here.
        self._before = record.generation
        # The generation that input goes to.
        self._fed = record.generation
        # What the reader of the output has seen, which may be less than what has come.
        self._channels: frozenset[int] = frozenset()
        self._open: set[int] = set()
        self._generation_taken = 1
        self._status_taken = False
        self._end_taken = False
        self._delivery = Delivery(self._flow)
        self._exits = Exits(
            lambda: client.line.request(Wait(process=self.id, for_=Until.EXITED)),
            self._exit_told,
            lambda: self.attached,
        )
        self._lost: ConnectionClosed | None = None

    @classmethod
    def of_reply(
        cls,
        client: Client,
        session: Session,
        id: int,
        reply: Attached,
        *,
        asked: Start | Attach,
        sole_writer: bool,
    ) -> RemoteProcess:
        """The process that *session* is attached to now; to be called in the callback of the reply."""
        process = cls(client, reply.process)
        process.attached = True
        process.offset = reply.offset
        # What is closed already is told as an event, too, where it belongs.
        process._channels = frozenset(process._outputs() & set(asked.channels or BOTH))
        process._open = set(process._channels)
        process._stdin = Stdin(session, id, reply.stdin_end, sole_writer=sole_writer)
        process._stdin.resumes = lambda: client.line.resumes
        process._attachment = Attachment(client.line, session, id, process, asked)
        return process

    def _outputs(self) -> set[int]:
        one = self._record.pty is not None or self._record.merge
        return {Channel.STDOUT} if one else {Channel.STDOUT, Channel.STDERR}

    def __repr__(self) -> str:
        return f"<RemoteProcess {self.id} {self.record.state.value} {self._record.argv!r}>"

    # --- what it is --------------------------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """The process's id."""
        return self._record.id

    @property
    def record(self) -> ProcessRecord:
        """The process as it was last told: its state is kept up to date while attached, its offsets are not."""
        if self._changed:
            self._record, self._changed = dataclasses.replace(self._record, **self._changed), {}
        return self._record

    @property
    def pid(self) -> int | None:
        """The kernel's number for it on the daemon's host; None once it has exited."""
        return self.record.pid

    def when_exited(self) -> Deferred[ProcessRecord]:
        """A new Deferred that fires with the record once the process has exited for good: ``code`` xor ``signal``, or
        neither where the status is unknown. When it exited is told by `Client.inspect` and `Client.wait` only.

        All that it wrote before has come then, though it may not have been taken yet. Cancelling it stops the waiting
        and nothing else.

        :raises NoSuchProcess: (errback) it was removed before we knew.
        :raises ConnectionClosed: (errback) the connection is lost, and there will be no other.
        """
        if self.record.state in OVER:
            return succeed(self.record)
        if self._lost is not None:
            return fail(self._lost)
        waiting = self._exits.add()
        if not self.attached or self._delivery.pressure:
            self._exits.ask()
        return waiting

    def _exit_told(self, record: ProcessRecord) -> None:
        self._record, self._changed = record, {}
        self._exits.tell(record)

    # --- input -------------------------------------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> Deferred[int]:
        """Queue *data* for the process's standard input, whole and in order.

        :param data: any bytes. All of it waits here until the daemon has it: wait for the Deferred before writing much
            more.
        :return: fires with the stdin offset after *data* once the daemon has it safe. Cancelling does not take it back.
        :raises AlreadyExited: (errback) the process has exited. So it is until its next generation begins, if there is
            to be one, and so with the next two.
        :raises NotRunning: (errback) it is just being started.
        :raises StdinClosed: (errback) EOF was sent, by us or another.
        :raises Denied: (errback) the attachment is read-only.
        :raises ConnectionClosed: (errback) how much was taken is unknown: the connection is lost and there will be no
            other; or, where there are other writers, it was lost while this was under way, and input was taken
            meanwhile that may or may not be this. What is written later goes on.

        Source: DATA in the protocol description.
        """
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError(f"write takes bytes, not {type(data).__name__}")
        if self._stdin is None:
            return fail(self._not_attached())
        return self._stdin.write(bytes(data))

    def close_stdin(self) -> Deferred[None]:
        """EOF after all that was written; on a terminal, its end-of-transmission character, which may be repeated.

        :return: fires when the daemon has it. Fails as `write` does.
        """
        if self._stdin is None:
            return fail(self._not_attached())
        if self._record.pty is not None:
            return self._stdin.write(END_OF_TRANSMISSION).addCallback(lambda _: None)
        return self._stdin.close()

    def close_output(self, channel: int) -> Deferred[None]:
        """Close the daemon's reading end of an output, for everybody: a process that goes on writing gets SIGPIPE."""
        return self._about_attachment(lambda to: Data(to=to, channel=channel), repeat=True)

    @property
    def unsafe(self) -> int:
        """How many bytes were written that the daemon does not have yet."""
        return 0 if self._stdin is None else self._stdin.pending

    def on_input_moved(self, call: Callable[[], None] | None) -> None:
        """Call *call* whenever some of what was written has become safe."""
        if self._stdin is not None:
            self._stdin.on_moved = call

    # --- what is done to it ------------------------------------------------------------------------------------------

    def kill(
        self, signal: int | str = "TERM", *, scope: Scope | str | None = None, generation: int | None = None
    ) -> Deferred[None]:
        """Send one signal, by number or name; to the process's group unless *scope* says otherwise.

        :raises AlreadyExited: (errback) there is nobody to get it.
        :raises Denied: (errback) you may not.
        :raises ConnectionClosed: (errback) whether it was sent is unknown.
        """
        if not self.attached:
            return self.client.kill(self.id, signal, scope=scope, generation=generation)
        number, scope = number_of(signal), None if scope is None else Scope(scope)
        return self._about_attachment(lambda to: Kill(to=to, signal=number, scope=scope, generation=generation))

    def resize(self, rows: int, columns: int) -> Deferred[None]:
        """Set the size of the process's terminal.

        :raises BadRequest: (errback) it has none.
        """
        return self._about_attachment(lambda to: Resize(to=to, rows=rows, columns=columns), repeat=True)

    def detach(self) -> Deferred[None]:
        """End the attachment; the process goes on, its standard input stays open. `Listener.on_end` follows.

        A connection that is lost meanwhile has ended it, too.
        """
        if self._attachment is None or not self.attached:
            return fail(self._not_attached())
        return self._attachment.detach().addCallback(lambda _: None)

    def _about_attachment(self, make: Make, *, repeat: bool = False) -> Deferred[None]:
        if self._attachment is None or not self.attached:
            return fail(self._not_attached())
        return self._attachment.request(make, repeat=repeat).addCallback(lambda _: None)

    def _not_attached(self) -> NetdaemonError:
        if self._lost is not None:
            return self._lost
        return NotAttached(f"process {self.id} is not attached", process=self.id)

    # --- output ------------------------------------------------------------------------------------------------------

    def listen(self, listener: Listener | None) -> None:
        """Tell *listener* all that happens from here on, beginning with what waits; None: let it wait."""
        if listener is not None and not isinstance(listener, Listener):
            raise TypeError(f"{listener!r} is no netdaemon.Listener")
        self._delivery.listen(listener)

    def pause(self) -> None:
        """Tell the listener nothing, and have the daemon send nothing, until `resume`."""
        self._delivery.pause()

    def resume(self) -> None:
        """Go on where `pause` stopped."""
        self._delivery.resume()

    async def output(self) -> AsyncIterator[Output | Gap]:
        """The output as it comes; for one reader, who may take its time: when too much waits, the daemon is asked to
        send no more.

        Yields `Output` (``channel``, ``payload``, ``offset``, ``time``) and, where output is not kept any more, `Gap`.
        Ends when the process has exited for good and its outputs are closed, or when the attachment is over. If it is
        started again after that, another loop has what follows.

        :raises ConnectionClosed: the connection was lost for good; what had come was yielded before.
        :raises NotAttached: there is no attachment, and was none.
        """
        if self._attachment is None:
            raise self._not_attached()
        if self._told.generation > self._generation_taken:
            self._status_taken = False
        while not self._finished():
            item = await self._delivery.take()
            if type(item) is Output:
                if item.payload:
                    yield item
                else:
                    self._open.discard(item.channel)
            elif type(item) is Gap:
                yield item
            elif type(item) is Status:
                self._take_status(item)
            elif type(item) is End:
                self._end_taken = True
            elif isinstance(item, ConnectionClosed):
                self._end_taken = True
                raise item

    def _take_status(self, status: Status) -> None:
        if status.generation > self._generation_taken:
            self._generation_taken = status.generation
            if status.state in BEGINNINGS:
                self._open = set(self._channels)
        self._status_taken = status.state in OVER and status.generation >= self._before

    def _finished(self) -> bool:
        return self._end_taken or (self._status_taken and not self._open) or not (self.attached or self._delivery.waits)

    # --- what the session tells --------------------------------------------------------------------------------------

    def event(self, message: Event) -> None:
        exited = False
        if type(message) is Output:
            if not message.payload:
                if not self._told.end(message):
                    return
                self._end_of(message.channel)
            self.offset = message.offset + len(message.payload)
        elif type(message) is Gap:
            self.offset = message.to
        elif type(message) is Status:
            if not self._told.status(message):
                return
            if is_news(message, self.record):
                self._status(message)
                exited = message.state in OVER
        elif type(message) is End:
            self._ended(message.reason)
        self._delivery.put(message)
        if exited:
            self._exits.tell(self.record)

    def _end_of(self, channel: int) -> None:
        if self._told.generation >= self._changed.get("generation", self._record.generation):
            eof = {*self._changed.get("eof", self._record.eof), channel}
            self._changed["eof"] = tuple(sorted(eof))

    def _status(self, status: Status) -> None:
        changed = {name: getattr(status, name) for name in ("state", "generation", "code", "signal", "core")}
        if status.state in (*OVER, State.BACKOFF):
            changed["pid"] = None
        elif status.pid:
            changed["pid"] = status.pid
        if status.end:
            changed["end"] = status.end
        if status.generation > self._record.generation and status.state in BEGINNINGS:
            changed["eof"] = ()
            self.runs(status.generation)
        self._changed.update(changed)

    def runs(self, generation: int) -> None:
        """It is known that *generation* runs, perhaps before that is told here, in its place after all output."""
        if generation > self._fed:
            self._fed = generation
            if self._stdin is not None:
                self._stdin.reopen()

    def _ended(self, reason: Reason) -> None:
        self.attached = False
        error = NotAttached(f"the attachment to process {self.id} is over: {reason.value}", process=self.id)
        if self._stdin is not None:
            self._stdin.fail(error)
        if self._attachment is not None:
            self._attachment.close(error)
        self._exits.ask()

    def lost(self, error: ConnectionClosed) -> None:
        if self._attachment is None or not self._attachment.interrupted():
            self.over(error)
        elif self._stdin is not None:
            self._stdin.interrupt()

    def resumed(self, reply: Attached) -> None:
        assert self._attachment is not None
        self._told.again()
        if self._stdin is not None:
            later = reply.process.generation > self._fed
            self._stdin.resume(self._attachment.session, self._attachment.to, reply.stdin_end, later=later)
        if reply.process.state in RUNS:
            self.runs(reply.process.generation)
        if self._delivery.pressure:
            self._flow(True)

    def over(self, error: ConnectionClosed) -> None:
        if not self.attached:
            return
        self.attached = False
        self._lost = error
        if self._stdin is not None:
            self._stdin.fail(error)
        if self._attachment is not None:
            self._attachment.close(error)
        self._delivery.put(error)
        self._exits.fail(error)

    def _flow(self, paused: bool) -> None:
        """The daemon is to send nothing, or to go on."""
        attachment = self._attachment
        if not self.attached or attachment is None:
            return
        if attachment.session.version == 1:
            attachment.session.hold_reading(paused)
            return
        if attachment.live:
            # Otherwise it is said when the attachment goes on.
            asking = attachment.session.request(Flow(to=attachment.to, paused=paused))
            # The attachment may be over by the time this arrives, and then there is nothing to pause.
            asking.addErrback(lambda failure: failure.trap(Refusal, ConnectionClosed) and None)
            asking.addErrback(lambda failure: _log.failure("flow control failed", failure))
        if paused:
            self._exits.ask()
