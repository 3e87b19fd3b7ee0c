"""What a daemon may ask of its keeper: one function for each word, and nothing that is not asked for."""

from __future__ import annotations

import errno
import os
import select
import signal

from netdaemon.keeper.child import SPOOL, STDERR, STDIN, STDOUT, ExitStatus, LaunchError, Spec
from netdaemon.keeper.client import Daemon
from netdaemon.keeper.limits import limit_wanted, with_limit_of_children
from netdaemon.keeper.messages import Torn, close_all, unpack
from netdaemon.keeper.restart import say
from netdaemon.keeper.state import FORM, State
from netdaemon.keeper.whom import Whom

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from netdaemon.keeper.main import Keeper


# Seconds for a program to say whether it can take our place.
ANSWERS_WITHIN = 5.0


def carry_out(keeper: Keeper, one: Daemon, fields: list[bytes], descriptors: list[int]) -> None:
    """Do what a daemon asks for; the descriptors find an owner or are closed.

    :raises Torn: it cannot be understood, and nothing was done.
    """
    word = fields[0].decode("ascii", "replace") if fields else ""
    if one is not keeper.daemon or word not in WORDS:
        close_all(descriptors)
        raise Torn(f"{word!r} is no word of ours, or out of turn")
    try:
        WORDS[word](keeper, one, [os.fsdecode(field) for field in fields[1:]], descriptors)
    except (ValueError, IndexError) as error:
        # None of them has found an owner.
        close_all(descriptors)
        raise Torn(f"{word}: {error!r}") from error
    if word not in OWNING:
        close_all(descriptors)


def refuse(keeper: Keeper, one: Daemon, fields: list[bytes]) -> None:
    """Answer what could not be carried out because its descriptors found no place here."""
    if fields[:1] in ([b"launch"], [b"spawn"]) and len(fields) > 1:
        keeper.tell(one, b"refused", fields[1], b"descriptors", b"%d" % errno.EMFILE)
    elif fields[:1] == [b"share"] and len(fields) == 3:
        keeper.tell(one, b"unshared", *fields[1:])


def launch(keeper: Keeper, one: Daemon, words: list[str], descriptors: list[int]) -> None:
    """launch ID PATH CWD PTY MERGE ARGC[:MARK[:WHOM]] [WHOM] ARGV... ENV...  with the spool: launched or refused.

    WHOM is 1 where there is such a field. To a keeper that knows of none, ARGC is no number then: it launches nothing.
    """
    id, path, cwd, pty, merge, count, *rest = words
    count, _, mark = count.partition(":")
    mark, _, as_whom = mark.partition(":")
    octets = [os.fsencode(word) for word in rest]
    whom = Whom.unpack(octets.pop(0)) if as_whom else None
    rows, _, columns = pty.partition("x")
    spec = Spec(
        path=os.fsencode(path),
        argv=tuple(octets[: int(count)]),
        env=tuple(octets[int(count) :]),
        cwd=os.fsencode(cwd),
        pty=(int(rows), int(columns)) if pty else None,
        merge=merge == "1",
        mark=int(mark or "0"),
        whom=whom,
    )
    (spool,) = descriptors
    try:
        keeper.ledger.launch(id, spec, spool)
    except LaunchError as error:
        keeper.tell(one, b"refused", os.fsencode(id), error.stage.encode(), b"%d" % error.errno)
        return
    except (ValueError, OSError) as error:
        # What no program can be given.
        keeper.tell(one, b"refused", os.fsencode(id), b"exec", b"%d" % (getattr(error, "errno", None) or errno.EINVAL))
        return
    fields, ours = keeper.ledger.described(id)
    if not keeper.tell(one, b"launched", *fields, descriptors=ours):
        keeper.ledger.forget(id)
        keeper.tell(one, b"refused", os.fsencode(id), b"descriptors", b"%d" % errno.EMFILE)


def spawn(keeper: Keeper, one: Daemon, words: list[str], descriptors: list[int]) -> None:
    """spawn ID PATH CWD ARGC[:MARK] ARGV... ENV...  with a claim, the child's three ends, and what is to be kept.

    That is the spool and our ends of the pipes; of outputs there may be one. The answer is spawned ID PID, or refused.
    """
    id, path, cwd, count, *rest = (os.fsencode(word) for word in words)
    count, _, mark = count.partition(b":")
    claimed, stdin, stdout, stderr, *kept = descriptors
    argv, env = tuple(rest[: int(count)]), tuple(rest[int(count) :])
    spec = Spec(path=path, argv=argv, env=env, cwd=cwd, mark=int(mark or b"0"))
    roles = dict(zip((SPOOL, STDIN, STDOUT, STDERR), kept, strict=False))
    try:
        entry = keeper.ledger.spawn(os.fsdecode(id), spec, claimed, (stdin, stdout, stderr), roles)
    except LaunchError as error:
        keeper.tell(one, b"refused", id, error.stage.encode(), b"%d" % error.errno)
    except (ValueError, OSError) as error:
        # What no program can be given.
        keeper.tell(one, b"refused", id, b"exec", b"%d" % (getattr(error, "errno", None) or errno.EINVAL))
    else:
        keeper.tell(one, b"spawned", id, b"%d" % entry.pid)


def share(keeper: Keeper, one: Daemon, words: list[str], descriptors: list[int]) -> None:
    """share ID ROLE  with a descriptor: keep it, too."""
    id, role = words
    (descriptor,) = descriptors
    keeper.ledger.share(id, role, descriptor)


def withdraw(keeper: Keeper, one: Daemon, words: list[str], descriptors: list[int]) -> None:
    """withdraw ID ROLE: close ours, too."""
    id, role = words
    keeper.ledger.withdraw(id, role)


def collect(keeper: Keeper, one: Daemon, words: list[str], descriptors: list[int]) -> None:
    """collect ID: status with how it ended; "later", or "unknown" of who is no child of ours."""
    try:
        told = _told(keeper.ledger.collect(words[0]))
    except ChildProcessError:
        told = (b"unknown",)
    keeper.tell(one, b"status", os.fsencode(words[0]), *told)


def release(keeper: Keeper, one: Daemon, words: list[str], descriptors: list[int]) -> None:
    """release ID: its exit is recorded."""
    keeper.ledger.release(words[0])


def forget(keeper: Keeper, one: Daemon, words: list[str], descriptors: list[int]) -> None:
    """forget ID: keep nothing of it."""
    keeper.ledger.forget(words[0])


def abandon(keeper: Keeper, one: Daemon, words: list[str], descriptors: list[int]) -> None:
    """abandon ID: kill it, and keep nothing of it."""
    keeper.ledger.abandon(words[0])


def adopt(keeper: Keeper, one: Daemon, words: list[str], descriptors: list[int]) -> None:
    """adopt ID PID ROLE...  with the descriptors: from a daemon whose keeper has died."""
    keeper.ledger.enter([os.fsencode(word) for word in words], descriptors)


def sync(keeper: Keeper, one: Daemon, words: list[str], descriptors: list[int]) -> None:
    """sync: all that was said before has been done; synced."""
    keeper.tell(one, b"synced")


def several(keeper: Keeper, one: Daemon, words: list[str], descriptors: list[int]) -> None:
    """several MESSAGE...: each as if it had come by itself; none of them is ``several``, which would have no end."""
    for word in words:
        try:
            message = unpack(os.fsencode(word))
            if message[:1] == [several.__name__.encode()]:
                raise Torn("several messages within several")
            carry_out(keeper, one, message, [])
        except (Torn, OSError) as error:
            # It costs the others nothing.
            say(f"daemon {one.pid}: {error}")


def taken(keeper: Keeper, one: Daemon, words: list[str], descriptors: list[int]) -> None:
    """taken: the batch has arrived; after the last, everything has."""
    if one.left:
        keeper.hand_over(one)
        return
    one.left = None
    if keeper.stopping:
        keeper.tell(one, b"stop")


def farewell(keeper: Keeper, one: Daemon, words: list[str], descriptors: list[int]) -> None:
    """farewell: the daemon ends, and means to."""
    one.farewell = True


def end(keeper: Keeper, one: Daemon, words: list[str], descriptors: list[int]) -> None:
    """end: everything has been ended, and so are we once the daemon has."""
    keeper.ended = True
    keeper.unlink()


def upgrade(keeper: Keeper, one: Daemon, words: list[str], descriptors: list[int]) -> None:
    """upgrade PYTHON SCRIPT: execute that in our place, with all that we have; it says ``upgraded`` then."""
    python, script = words
    if not _understands(python, script):
        keeper.tell(one, b"not-upgraded", f"{script} does not understand what this keeper hands on".encode())
        return
    assert keeper.listener is not None
    state = State(keeper.path, keeper.instance, keeper.listener, one, keeper.ledger, keeper.restarts.pid)
    state.always = keeper.always
    # One that comes in between would find no handler, and kill.
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    keeper.hear_signals()
    file = -1
    try:
        if keeper.stopping:
            raise OSError(errno.ESHUTDOWN, os.strerror(errno.ESHUTDOWN))
        file = state.write()
        state.inherit(True)
        argv = [python, "-I", "-S", script, "--resume", str(file), str(limit_wanted())]
        with_limit_of_children(lambda: os.execve(python, argv, os.environ))
    except OSError as error:
        state.inherit(False)
        if file >= 0:
            os.close(file)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        keeper.tell(one, b"not-upgraded", f"{script}: {error.strerror}".encode())


def _understands(python: str, script: str) -> bool:
    """Whether that program can go on from our state: it is asked before there is no way back."""
    argv = [python, "-I", "-S", script, "--understands", FORM.decode()]
    try:
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        try:
            silent = [(os.POSIX_SPAWN_DUP2, nothing, target) for target in range(3)]
            pid = os.posix_spawn(python, argv, {}, file_actions=silent)
        finally:
            os.close(nothing)
        pidfd = os.pidfd_open(pid)
    except OSError:
        return False
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    if not poll.poll(int(ANSWERS_WITHIN * 1000)):
        os.kill(pid, signal.SIGKILL)
    os.close(pidfd)
    return os.waitpid(pid, 0)[1] == 0


def _told(status: ExitStatus | None) -> tuple[bytes, ...]:
    if status is None:
        return (b"later",)
    if status.code is not None:
        return (b"code", b"%d" % status.code)
    return (b"signal", b"%d" % (status.signal or 0), b"core" if status.core else b"")


WORDS: dict[str, Callable[[Keeper, Daemon, list[str], list[int]], None]] = {
    one.__name__: one
    for one in (
        launch,
        spawn,
        share,
        withdraw,
        collect,
        release,
        forget,
        abandon,
        adopt,
        sync,
        several,
        taken,
        farewell,
        end,
        upgrade,
    )
}

# Those that come with descriptors.
OWNING = ("launch", "spawn", "share", "adopt")
