"""The form in which a keeper hands all that it has to the program that takes its place by execve."""

from __future__ import annotations

import os
import socket

from netdaemon.keeper.client import Command, Daemon
from netdaemon.keeper.ledger import Ledger
from netdaemon.keeper.messages import Channel, Torn, pack, read_file, unpack, write_file

# Changed together with the form: a keeper of another form cannot take over in place.
FORM = b"netdaemon keeper 1"


class State:
    """All that a keeper has.

    :ivar always: the command of the daemon that it starts whatever happens, as process 1; None: it does not.
    :ivar started: the pid of the daemon that it has started; 0: none.
    """

    def __init__(
        self, path: str, instance: bytes, listener: socket.socket, daemon: Daemon, ledger: Ledger, started: int
    ) -> None:
        self.path = path
        self.instance = instance
        self.listener = listener
        self.daemon = daemon
        self.ledger = ledger
        self.started = started
        self.always: Command | None = None

    def numbers(self) -> list[int]:
        """Every descriptor that has to survive."""
        assert self.daemon.channel is not None
        entries = self.ledger.entries.values()
        return [
            *(number for entry in entries for number in entry.roles.values()),
            *(self.listener.fileno(), self.daemon.pidfd, self.daemon.channel.fileno(), *self.ledger.dying),
        ]

    def inherit(self, inherited: bool) -> None:
        """Have all descriptors survive execve, or not."""
        for number in self.numbers():
            os.set_inheritable(number, inherited)

    def write(self) -> int:
        """A file of it that survives, too."""
        daemon, entries = self.daemon, []
        assert daemon.channel is not None
        assert daemon.command is not None
        for id in self.ledger:
            fields, numbers = self.ledger.described(id)
            entries.append(pack((*fields, *(b"%d" % number for number in numbers))))
        told = (daemon.channel.fileno(), daemon.pid, daemon.pidfd, daemon.restart)
        octets = pack(
            (
                FORM,
                os.fsencode(self.path),
                self.instance,
                b"%d" % self.listener.fileno(),
                pack((*(b"%d" % number for number in told), daemon.command.pack())),
                pack(entries),
                pack(b"%d" % number for number in self.ledger.dying),
                b"%d" % self.started,
                b"" if self.always is None else self.always.pack(),
            )
        )
        file = write_file(octets, "netdaemon keeper")
        os.set_inheritable(file, True)
        return file

    @classmethod
    def read(cls, file: int) -> State:
        """What the keeper before this one has written.

        :raises Torn: it is not of our form.
        """
        fields = unpack(read_file(file))
        os.close(file)
        if fields[:1] != [FORM] or len(fields) != 9:
            raise Torn(f"a state of the form {b''.join(fields[:1])!r}, and {FORM!r} is what is understood")
        try:
            return cls._of(fields)
        except (ValueError, OSError) as error:
            # No number where one should be, or that of no descriptor of ours.
            raise Torn(f"a state that cannot be: {error}") from error

    @classmethod
    def _of(cls, fields: list[bytes]) -> State:
        _, path, instance, listener, told, entries, dying, started, always = fields
        ledger = Ledger()
        for entry in unpack(entries):
            words = unpack(entry)
            count = (len(words) - 2) // 2
            ledger.enter(words[: 2 + count], [int(number) for number in words[2 + count :]])
        ledger.dying = {int(number) for number in unpack(dying)}
        channel, pid, pidfd, restart, command = unpack(told)
        daemon = Daemon(Channel(socket.socket(fileno=int(channel))), int(pid), int(pidfd))
        daemon.restart, daemon.command, daemon.left = restart == b"1", Command.unpack(command), None
        state = cls(os.fsdecode(path), instance, socket.socket(fileno=int(listener)), daemon, ledger, int(started))
        state.always = Command.unpack(always) if always else None
        state.inherit(False)
        return state
