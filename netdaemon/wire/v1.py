"""The same messages in the positional encoding of 2009; what that encoding cannot say is left out or refused.

string = bytes ending in NUL. buffer = length:u16, bytes. array = count:u16, items. All integers are unsigned
16 bits but ``code`` of ERROR and ABORT, which is signed 32.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from struct import error as StructError
from typing import Any

from netdaemon.errors import BadRequest, LocalProtocolError, RemoteProtocolError, UnknownChannel
from netdaemon.wire.answers import Abort, Attached, Event, Failure, Listing, Message, Ok, Output, Reply, Status, Taken
from netdaemon.wire.commands import Again, Attach, Data, Hello, Kill, List, Request, Start
from netdaemon.wire.frame import MAX_PACKET
from netdaemon.wire.records import Channel, Scope, State
from netdaemon.wire.told import ProcessRecord

_U16 = Struct(">H")
_I32 = Struct(">i")
_TWO = Struct(">HH")

# The most output that fits into one packet after the message's head, the channel and the buffer's length.
MAX_OUTPUT = MAX_PACKET - 10

# Status words of 2009.
RUN, EXIT, KILLED = 1, 2, 3

# What an exit code is given as where the kernel could not tell it: never 0, and no program uses it by custom.
UNKNOWN_CODE = 0xFFFF


class _Cursor:
    """A place in a body; reads what comes next."""

    def __init__(self, octets: bytes, start: int = 0) -> None:
        self.octets = octets
        self.position = start

    def u16(self) -> int:
        try:
            value: int = _U16.unpack_from(self.octets, self.position)[0]
        except StructError:
            raise BadRequest("the body ends where a u16 should be") from None
        self.position += 2
        return value

    def i32(self) -> int:
        try:
            value: int = _I32.unpack_from(self.octets, self.position)[0]
        except StructError:
            raise BadRequest("the body ends where an i32 should be") from None
        self.position += 4
        return value

    def string(self) -> str:
        end = self.octets.find(b"\0", self.position)
        if end < 0:
            raise BadRequest("a string has no NUL at its end")
        value = self.octets[self.position : end]
        self.position = end + 1
        return value.decode("utf-8", "surrogateescape")

    def buffer(self) -> bytes:
        length = self.u16()
        end = self.position + length
        if end > len(self.octets):
            raise BadRequest(f"a buffer of {length} bytes is cut short")
        value = self.octets[self.position : end]
        self.position = end
        return value

    def strings(self) -> tuple[str, ...]:
        return tuple(self.string() for _ in range(self.u16()))

    def finish(self) -> None:
        rest = len(self.octets) - self.position
        if rest:
            raise BadRequest(f"{rest} bytes stand after the end of the message")


def _string(value: str) -> bytes:
    try:
        octets = value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise LocalProtocolError(f"{value!r} cannot be sent: {error}") from None
    if b"\0" in octets:
        raise LocalProtocolError(f"{value!r} has a NUL in it, and a version-1 string ends at its first")
    return octets + b"\0"


def _strings(values: tuple[str, ...]) -> bytes:
    if len(values) > 0xFFFF:
        raise LocalProtocolError(f"an array of {len(values)} items; a version-1 array has at most 65535")
    return _U16.pack(len(values)) + b"".join(map(_string, values))


def _buffer(value: bytes | memoryview) -> bytes:
    if len(value) > 0xFFFF:
        raise LocalProtocolError(f"a buffer of {len(value)} bytes; a version-1 buffer has at most 65535")
    return _U16.pack(len(value)) + value


def status_words(state: State, pid: int | None, code: int | None, signal: int | None) -> tuple[int, int]:
    """A state as version 1 has it: (status, status_code). Of a process that will be started again: how it exited."""
    if state in (State.EXITED, State.FAILED, State.BACKOFF):
        if signal is not None:
            return KILLED, signal
        return EXIT, UNKNOWN_CODE if code is None else code & 0xFFFF
    return RUN, (pid or 0) & 0xFFFF


def _status_fields(status: int, status_code: int) -> dict[str, Any]:
    if status == RUN:
        return {"state": State.RUNNING, "pid": status_code}
    if status == EXIT:
        return {"state": State.EXITED, "code": None if status_code == UNKNOWN_CODE else status_code}
    if status == KILLED:
        return {"state": State.EXITED, "signal": status_code}
    raise BadRequest(f"the status {status}, and 1 (run), 2 (exit) and 3 (killed) are known")


# --- requests --------------------------------------------------------------------------------------------------------


def _name(message: Request) -> str:
    """What the request is called in the protocol description."""
    return "RESTART" if type(message) is Again else type(message).__name__.upper()


def _refuse_lost(message: Request, *names: str) -> None:
    for name in names:
        if getattr(message, name):
            command = _name(message)
            raise LocalProtocolError(f"version 1 of the protocol has no {name.rstrip('_')!r} in {command}")


def _encode_hello(_: Any) -> bytes:
    return b""


def _encode_start(message: Start) -> bytes:
    _refuse_lost(message, "cwd", "name", "labels", "pty", "merge", "keep", "from_", "channels", "read_only")
    _refuse_lost(message, "stop", "restart", "ready", "watchdog", "log")
    _refuse_lost(message, "run_as", "limits", "cgroup", "sandbox")
    if not message.attach:
        raise LocalProtocolError("version 1 of the protocol has no START without attach: it always attaches")
    path = message.argv[0] if message.path is None else message.path
    if message.argv[0] != path:
        raise LocalProtocolError("version 1 of the protocol has no argv[0] of its own: the path serves as it")
    return _string(path) + _strings(message.argv[1:]) + _strings(message.env or ())


def _decode_start(body: _Cursor) -> Start:
    path, argv, env = body.string(), body.strings(), body.strings()
    return Start(argv=(path, *argv), env=env, attach=True)


def _encode_attach(message: Attach) -> bytes:
    _refuse_lost(message, "from_", "channels", "read_only")
    return _string(message.process)


def _decode_attach(body: _Cursor) -> Attach:
    return Attach(process=body.string())


def _encode_list(message: List) -> bytes:
    _refuse_lost(message, "select", "after", "limit")
    return b""


def _encode_data(message: Data) -> bytes:
    if message.at is not None:
        raise LocalProtocolError("version 1 of the protocol has no 'at' in DATA")
    if message.generation is not None:
        raise LocalProtocolError("version 1 of the protocol has no 'generation' in DATA")
    if not 0 <= message.channel <= 0xFFFF:
        raise LocalProtocolError(f"channel {message.channel}; a version-1 channel has 16 bits, unsigned")
    return _U16.pack(message.channel) + _buffer(message.payload)


def _encode_kill(message: Kill) -> bytes:
    _refuse_lost(message, "process", "generation")
    if message.scope not in (None, Scope.GROUP):
        raise LocalProtocolError("version 1 of the protocol has no 'scope' in KILL")
    return _U16.pack(message.signal)


_ENCODE_REQUEST: dict[type[Request], Callable[[Any], bytes]] = {
    Hello: _encode_hello,
    Start: _encode_start,
    Attach: _encode_attach,
    List: _encode_list,
    Data: _encode_data,
    Kill: _encode_kill,
}


def encode_request(message: Request) -> bytes:
    """The body of a request.

    :raises LocalProtocolError: version 1 has no such request, or cannot say all of it.
    """
    encode = _ENCODE_REQUEST.get(type(message))
    if encode is None:
        raise LocalProtocolError(f"version 1 of the protocol has no {_name(message)}")
    return encode(message)


# The requests that exist in version 1; HELLO is read before a version is chosen.
REQUEST_CODES = frozenset(declaration.command for declaration in _ENCODE_REQUEST if declaration is not Hello)


def decode_request(command: int, octets: bytes, start: int, attachment: int) -> Request:
    """The request in a message's body.

    :param attachment: the id of the connection's one attachment, which DATA and KILL are about.
    :raises BadRequest: the body is not what the command has.
    :raises UnknownChannel: DATA for another channel than stdin.
    """
    body = _Cursor(octets, start)
    message: Request
    if command == Start.command:
        message = _decode_start(body)
    elif command == Attach.command:
        message = _decode_attach(body)
    elif command == List.command:
        message = List()
    elif command == Data.command:
        channel = body.u16()
        if channel != Channel.STDIN:
            raise UnknownChannel(f"nothing can be sent to channel {channel}; 0 is stdin")
        message = Data(to=attachment, payload=body.buffer())
    elif command == Kill.command:
        message = Kill(to=attachment, signal=body.u16())
    else:
        raise AssertionError(f"command {command:#06x} is not of version 1")
    body.finish()
    return message


# --- replies and events ----------------------------------------------------------------------------------------------


def _encode_error(message: Failure | Abort) -> bytes:
    return _I32.pack(message.errno) + _string(message.message.replace("\0", "?"))


def _encode_attached(message: Attached) -> bytes:
    process = message.process
    return _string(process.id) + _TWO.pack(*status_words(process.state, process.pid, process.code, process.signal))


def _encode_listing(message: Listing) -> bytes:
    items = [
        _string(one.id) + _TWO.pack(*status_words(one.state, one.pid, one.code, one.signal))
        for one in message.processes
    ]
    return _U16.pack(len(items)) + b"".join(items)


def _encode_status(message: Status) -> bytes:
    return _TWO.pack(*status_words(message.state, message.pid, message.code, message.signal))


def _encode_output(message: Output) -> bytes:
    return _U16.pack(message.channel) + _buffer(message.payload)


_ENCODE_ANSWER: dict[type[Message], Callable[[Any], bytes]] = {
    Ok: lambda _: b"",
    Taken: lambda _: b"",
    Failure: _encode_error,
    Abort: _encode_error,
    Attached: _encode_attached,
    Listing: _encode_listing,
    Status: _encode_status,
    Output: _encode_output,
}


def encode_answer(message: Reply | Event) -> bytes | None:
    """The body of a reply or event; None where version 1 has no way to tell it."""
    encode = _ENCODE_ANSWER.get(type(message))
    return None if encode is None else encode(message)


def output_head(channel: int, length: int) -> bytes:
    """The body of a DATA event up to its bytes, of which *length* follow."""
    return _TWO.pack(channel, length)


def _decode_process(body: _Cursor) -> ProcessRecord:
    name = body.string()
    return ProcessRecord(id=name, argv=(name,), **_status_fields(body.u16(), body.u16()))


def decode_answer(command: int, octets: bytes, start: int, expected: type[Reply] | None) -> Reply | Event:
    """The reply or event in a message's body.

    :param expected: what the request is answered with when all is well; None for an event.
    :raises RemoteProtocolError: there is no such answer, or its body is malformed.
    """
    body = _Cursor(octets, start)
    message: Reply | Event
    try:
        if command == Failure.command:
            message = Failure(code="", errno=body.i32(), message=body.string())
        elif command == Abort.command:
            message = Abort(errno=body.i32(), message=body.string())
        elif command == Attached.command:
            process = _decode_process(body)
            message = Attached(process=process)
        elif command == Listing.command:
            message = Listing(processes=tuple(_decode_process(body) for _ in range(body.u16())))
        elif command == Status.command:
            message = Status(**_status_fields(body.u16(), body.u16()))
        elif command == Output.command:
            message = Output(channel=body.u16(), payload=body.buffer())
        elif command == Ok.command:
            # Version 1 does not tell how much was accepted: all of it, or there would be an ERROR. How much that
            # is, whoever sent it knows.
            message = Taken(accepted=0, end=0) if expected is Taken else Ok()
        else:
            raise RemoteProtocolError(f"the command {command:#06x} is no answer of version 1")
        body.finish()
    except BadRequest as error:
        raise RemoteProtocolError(f"command {command:#06x}: {error}") from None
    return message
