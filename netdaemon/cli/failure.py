"""What can go wrong, in words for people and for programs, and the exit codes; knows no commands."""

from __future__ import annotations

import errno
import os
from typing import NoReturn

from netdaemon import errors
from netdaemon.cli import output

# ndtool itself failed: wrong usage, no daemon, refused, timed out, connection lost.
FAILED = 125
NOT_EXECUTABLE = 126
NOT_FOUND = 127
# A wait was given up, as timeout(1) has it.
GAVE_UP = 124
# Plus the number: ended by a signal, where ours is told by a code.
SIGNALLED = 128

# What helps, by what went wrong; with the process that it is about. Where the daemon's message says it, there is none.
_HINTS: dict[type[errors.NetdaemonError], str] = {
    errors.NoSuchProcess: "see what there is: ndtool list",
    errors.NameTaken: "take another --name, or remove that process once it has exited: ndtool rm {process}",
    errors.AlreadyExited: "see how it ended: ndtool inspect {process}",
    errors.NotStopped: "end it and all that descends from it: ndtool stop --now {process}",
    errors.WrongGeneration: "it has been started anew; see how it is: ndtool inspect {process}",
    errors.StdinClosed: "nothing can be sent to it any more",
    errors.UnknownCommand: "the daemon is older than this ndtool: restart it",
    errors.InternalError: "look into the daemon's log",
    errors.TimedOut: "the daemon does not answer: look into its log",
    errors.ShuttingDown: "start it anew when it has stopped",
}

# The same of a start, by how far it came.
_STAGES = {
    "cwd": "the working directory (--cwd) has to be one that whoever the program runs as may be in",
    "limits": "a hard limit above the daemon's own needs a daemon that is root",
    "oom": "less than the daemon's own --oom-score-adj needs a daemon that is root",
    "nice": "less than the daemon's own --nice needs a daemon that is root",
    "root": "--chroot names a directory that is reached through no symbolic link, and needs a daemon that is root",
    "groups": "another user or group needs a daemon that is root",
    "gid": "another user or group needs a daemon that is root",
    "uid": "another user or group needs a daemon that is root",
    "capabilities": "the daemon has to have those capabilities itself",
}


class Failure(Exception):
    """An end that is not well: one line, and an exit code.

    :param message: what was seen.
    :param hint: what to do about it.
    :param error: where it came from, for its code and number.
    :param word: a code where *error* has none.
    :param detail: more lines, such as the end of a log.
    """

    def __init__(
        self,
        message: str,
        hint: str = "",
        *,
        code: int = FAILED,
        error: BaseException | None = None,
        word: str = "",
        detail: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.exit_code = code
        self.error = error
        self.word = word
        self.detail = detail

    @property
    def line(self) -> str:
        """What is said on standard error."""
        text = output.visible(self.message)
        if not self.hint:
            return text
        return f"{text} {self.hint}" if text.endswith("?") else f"{text}; {self.hint}"

    def plain(self) -> output.Plain:
        """The same for programs."""
        error = self.error
        number = errno.ETIMEDOUT if isinstance(error, errors.TimedOut) else getattr(error, "errno", None)
        told: output.Plain = {
            "code": self.word or getattr(error, "code", "") or _word(error),
            "errno": number if isinstance(number, int) else 0,
            "message": self.message,
        }
        for name in ("process", "field", "stage", "accepted", "end"):
            value = getattr(error, name, None)
            if isinstance(value, str | int):
                told[name] = value
        if self.hint:
            told["hint"] = self.hint
        if self.detail:
            told["detail"] = list(self.detail)
        told["exit"] = self.exit_code
        return {"error": told}

    def tell(self, *, as_json: bool) -> int:
        """Say it on standard error; the exit code."""
        if as_json:
            output.complain(output.json_text(self.plain(), indent=None))
        else:
            output.note("\n  ".join((self.line, *map(output.visible, self.detail))))
        return self.exit_code


def _word(error: BaseException | None) -> str:
    """A word for what is no refusal, in the manner of theirs: connect-failed for ConnectFailed."""
    name = type(error).__name__ if isinstance(error, errors.NetdaemonError) else "failed"
    return "".join("-" + one.lower() if one.isupper() else one for one in name).lstrip("-")


def explain(error: BaseException) -> Failure:
    """The failure that *error* comes to."""
    if isinstance(error, Failure):
        return error
    if isinstance(error, errors.LaunchFailed):
        return _launch_failed(error)
    if isinstance(error, errors.ConversationAborted) and error.errno == errno.EACCES:
        return Failure(str(error), "ask whoever runs the daemon, or start your own", error=error)
    if isinstance(error, errors.NetdaemonError):
        hint = next((hint for kind, hint in _HINTS.items() if isinstance(error, kind)), "")
        process = getattr(error, "process", None) or "PROCESS"
        return Failure(str(error), hint.format(process=output.visible(process)), error=error)
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return Failure(where + (error.strerror or str(error)), error=error)
    raise error


def _launch_failed(error: errors.LaunchFailed) -> Failure:
    if error.stage != "exec":
        return Failure(str(error), _STAGES.get(error.stage or "", ""), error=error)
    if error.errno == errno.ENOENT:
        return Failure(
            str(error),
            "check the path, PATH, and the interpreter in its first line if it is a script",
            code=NOT_FOUND,
            error=error,
        )
    hint = ""
    if error.errno == errno.EACCES:
        hint = "it needs to be a file with permission to execute: chmod +x"
    elif error.errno == errno.ENOEXEC:
        hint = "it is no program; a script needs #! and its interpreter in its first line"
    return Failure(str(error), hint, code=NOT_EXECUTABLE, error=error)


def die_by(number: int) -> NoReturn:
    """End this process by signal *number*, leaving no core of our own."""
    import ctypes
    import resource
    import signal

    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        # A core that is piped to a program is not subject to the limit.
        pr_set_dumpable = 4
        ctypes.CDLL(None).prctl(pr_set_dumpable, 0, 0, 0, 0)
    except (OSError, ValueError, AttributeError):
        pass
    try:
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
        os.kill(os.getpid(), number)
    except (OSError, ValueError):
        pass
    # It does not kill by itself (a process in a namespace of its own, as number 1, is spared): say it by code.
    os._exit(SIGNALLED + number)
