"""The exception tree, and the words and numbers by which refusals are known on the wire."""

from __future__ import annotations

import errno
import pickle

import pytest

from netdaemon import errors
from netdaemon.errors import (
    BadRequest,
    ConnectionClosed,
    ConversationAborted,
    NetdaemonError,
    NoSuchProcess,
    ProtocolError,
    Refusal,
    RemoteProtocolError,
    StdinFull,
    UnknownRefusal,
    refusal,
    refusal_from_errno,
)

CLASSES = [found for found in vars(errors).values() if isinstance(found, type) and issubclass(found, Exception)]
REFUSALS = {declared.code: declared for declared in CLASSES if issubclass(declared, Refusal) and declared.code}

# A promise to every client, whatever it is written in.
CODES = {
    "no-such-process": errno.ENOENT,
    "name-taken": errno.EEXIST,
    "spec-differs": errno.ENOTUNIQ,
    "not-running": errno.ESRCH,
    "already-exited": errno.EOWNERDEAD,
    "denied": errno.EACCES,
    "bad-request": errno.EINVAL,
    "too-large": errno.EMSGSIZE,
    "stdin-full": errno.EAGAIN,
    "stdin-closed": errno.EPIPE,
    "stdin-hole": errno.ESPIPE,
    "launch-failed": errno.ENOEXEC,
    "limit-reached": errno.EDQUOT,
    "wrong-generation": errno.ESTALE,
    "not-stopped": errno.ETIME,
    "unknown-command": errno.EOPNOTSUPP,
    "shutting-down": errno.ESHUTDOWN,
    "already-attached": errno.EALREADY,
    "not-attached": errno.ECHILD,
    "unknown-channel": errno.ECHRNG,
    "not-greeted": errno.EBADMSG,
    "internal-error": errno.EIO,
}


def test_codes_and_numbers() -> None:
    assert {code: declared.default_errno for code, declared in REFUSALS.items()} == CODES


def test_no_number_stands_for_two_codes() -> None:
    """Where only numbers travel, each is one refusal."""
    assert len(set(CODES.values())) == len(CODES)


@pytest.mark.parametrize("declared", CLASSES, ids=lambda declared: declared.__name__)
def test_all_have_one_root_and_say_what_they_are(declared: type[Exception]) -> None:
    assert issubclass(declared, NetdaemonError)
    assert declared.__doc__
    assert declared.__name__ in errors.__all__


def test_everything_public_is_there() -> None:
    assert all(hasattr(errors, name) for name in errors.__all__)


@pytest.mark.parametrize("code", CODES)
def test_a_refusal_by_its_code(code: str) -> None:
    got = refusal(code, "why", process="p")
    assert type(got) is REFUSALS[code]
    assert (got.code, got.errno, got.message, str(got), got.process) == (code, CODES[code], "why", "why", "p")
    assert got.field is got.stage is got.accepted is got.end is None


@pytest.mark.parametrize("code", CODES)
def test_a_refusal_by_its_number(code: str) -> None:
    got = refusal_from_errno(CODES[code], "why")
    assert type(got) is REFUSALS[code]
    assert got.errno == CODES[code]


@pytest.mark.parametrize("code", ["", "moon-phase"])
def test_a_code_that_is_not_known(code: str) -> None:
    got = refusal(code, "why", number=7, field="f")
    assert type(got) is UnknownRefusal
    assert (got.code, got.errno, got.field) == (code, 7, "f")
    assert UnknownRefusal.code == ""


@pytest.mark.parametrize("number", [0, -1, 999])
def test_a_number_that_is_not_known(number: int) -> None:
    got = refusal_from_errno(number, "why")
    assert type(got) is UnknownRefusal
    assert (got.code, got.errno, got.message) == ("", number, "why")


def test_an_errno_of_its_own() -> None:
    assert BadRequest("why", number=7).errno == 7
    assert BadRequest("why", number=0).errno == 0
    assert BadRequest("why").errno == errno.EINVAL


def test_a_code_used_twice_is_a_mistake() -> None:
    with pytest.raises(TypeError, match="'denied' belongs to Denied already"):

        class Again(Refusal, code="denied"):
            """Never made."""

    assert type(refusal("denied", "")) is errors.Denied


def test_a_refusal_without_a_code_is_a_family() -> None:
    class Family(Refusal):
        """Some refusals with something in common."""

    assert Family.code == ""
    assert type(refusal("", "")) is UnknownRefusal


def test_what_stdin_took() -> None:
    got = StdinFull("full", accepted=3, end=8)
    assert (got.accepted, got.end) == (3, 8)


def test_protocol_errors_have_the_number_that_an_abort_tells() -> None:
    assert RemoteProtocolError("why").errno == errno.EBADMSG
    assert RemoteProtocolError("why", errno.EMSGSIZE).errno == errno.EMSGSIZE
    assert issubclass(RemoteProtocolError, ProtocolError)


def test_an_abort_is_a_closed_connection() -> None:
    """Whoever waits for an answer catches both with one class."""
    assert issubclass(ConversationAborted, ConnectionClosed)
    assert ConversationAborted("why").errno == 0
    assert ConversationAborted("why", 74).errno == 74


def test_a_refusal_can_be_pickled() -> None:
    """Test runners and process pools carry exceptions from one process to another."""
    got = pickle.loads(pickle.dumps(NoSuchProcess("why", process="p", number=5)))
    assert type(got) is NoSuchProcess
    assert vars(got) == {"message": "why", "process": "p", "errno": 5} | dict.fromkeys(
        ("field", "stage", "accepted", "end")
    )


def test_a_message_can_be_printed() -> None:
    """It quotes what strangers have said, on its way to terminals and logs."""
    error = errors.LaunchFailed("\x1b]0;owned\x07\n\x9b\u202e\x7f\udcff: no")
    assert error.message == str(error) == r"\x1b]0;owned\x07\n\x9b\u202e\x7f\xff: no"
    assert refusal(error.code, error.message).message == error.message
