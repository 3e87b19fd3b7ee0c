"""The daemon in memory, used as somebody would who tests a program of his own."""

import errno

import pytest

from netdaemon import ConnectionClosed, LaunchFailed, NoSuchProcess
from netdaemon.keeper.child import LaunchError
from netdaemon.process.launcher import LocalLauncher
from netdaemon.testing import MemoryDaemon, MemoryReactor
from netdaemon.wire.records import Pty, State


def test_the_example() -> None:
    """As the module's docstring has it."""
    daemon = MemoryDaemon()
    client = daemon.connect_now()
    process = daemon.settle(client.start(["/srv/game"], name="game"))
    assert process is not None
    daemon.children[0].write(b"ready\n")
    daemon.children[0].exit(3)
    record = daemon.settle(client.wait("game"))
    assert record is not None
    assert (record.state, record.code, record.end) == (State.EXITED, 3, 6)
    daemon.stop()
    assert client.session.ended is not None


def test_refusals_are_raised() -> None:
    """By class, as over a socket."""
    daemon = MemoryDaemon()
    client = daemon.connect_now()
    with pytest.raises(NoSuchProcess):
        daemon.settle(client.kill("nobody", 15))
    daemon.fake.refusals.append(LaunchError("exec", errno.ENOENT))
    with pytest.raises(LaunchFailed) as caught:
        daemon.settle(client.start(["nope"]))
    assert (caught.value.stage, caught.value.errno) == ("exec", errno.ENOENT)
    daemon.stop()


def test_what_has_not_happened_is_none() -> None:
    """`settle` waits for nothing that needs time or the test."""
    daemon = MemoryDaemon()
    client = daemon.connect_now()
    process = daemon.settle(client.start(["x"]))
    assert process is not None
    exited = process.when_exited()
    assert daemon.settle(exited) is None
    daemon.children[0].exit(signal=9)
    daemon.settle()
    assert exited.called
    daemon.stop()


def test_real_programs_in_memory() -> None:
    """Another launcher runs real programs under the same hand-turned reactor."""
    reactor = MemoryReactor()
    daemon = MemoryDaemon(launcher=LocalLauncher(reactor), reactor=reactor)
    client = daemon.connect_now()
    process = daemon.settle(client.start(["/bin/sh", "-c", "echo hello; exit 4"]))
    assert process is not None
    exited = process.when_exited()
    daemon.until(lambda: exited.called)
    record = daemon.settle(exited)
    assert record is not None
    assert (record.code, record.end) == (4, 6)
    daemon.stop()


def test_a_terminal_that_the_test_plays() -> None:
    """The child has the other side of a real one: its line discipline, its size."""
    daemon = MemoryDaemon()
    client = daemon.connect_now()
    process = daemon.settle(client.start(["/srv/shell"], pty=Pty(rows=10, columns=20)))
    assert process is not None
    child = daemon.children[0]
    daemon.settle(process.write(b"typed\n"))
    daemon.settle()
    assert child.read() == b"typed\n"
    daemon.settle(process.resize(30, 40))
    daemon.settle()
    assert child.size() == (30, 40)
    child.write(b"shown\n")
    daemon.settle()
    child.exit(2)
    record = daemon.settle(client.wait(process))
    assert record is not None
    assert record.code == 2
    assert process.offset == len(b"typed\r\n" + b"shown\r\n")
    daemon.stop()


def test_a_program_is_seen_through_a_loss() -> None:
    """The daemon is away for a while; as the module's docstring has it."""
    daemon = MemoryDaemon()
    told: list[object] = []
    client = daemon.connect_now(on_disconnected=told.append, on_reconnected=told.append)
    process = daemon.settle(client.start(["/srv/game"]))
    assert process is not None
    daemon.listening = False
    daemon.drop_connections()
    writing = process.write(b"input")
    daemon.reactor.advance(5)
    daemon.settle()
    assert not writing.called
    daemon.listening = True
    daemon.reactor.advance(5)
    assert daemon.settle(writing) == 5
    assert daemon.children[0].read() == b"input"
    assert isinstance(told[0], ConnectionClosed)
    assert told[1:] == [client.daemon]
    daemon.stop()
    assert daemon.reactor.getDelayedCalls() == []


def test_a_part_of_what_was_under_way_comes_through() -> None:
    """Requests whole or in part, replies not; and a client that does not connect again."""
    daemon = MemoryDaemon()
    client = daemon.connect_now(reconnect=False)
    client.start(["/srv/one"]).addErrback(lambda failure: failure.trap(ConnectionClosed) and None)
    daemon.drop_connections(to_daemon=10)
    assert daemon.children == []
    client = daemon.connect_now(reconnect=False)
    client.start(["/srv/two"]).addErrback(lambda failure: failure.trap(ConnectionClosed) and None)
    daemon.drop_connections(to_daemon=1 << 20)
    assert [child.spec.argv for child in daemon.children] == [(b"/srv/two",)]
    daemon.stop()


def test_clients_end_with_the_daemon() -> None:
    """Whatever waits for it has an end, too."""
    daemon = MemoryDaemon()
    client = daemon.connect_now()
    lost = client.when_disconnected()
    daemon.drop_connections()
    asking = client.info()
    daemon.stop()
    assert isinstance(daemon.settle(lost), ConnectionClosed)
    with pytest.raises(ConnectionClosed):
        daemon.settle(asking)
