"""examples/panel_postgres.py with a real database and a real daemon: rows become processes, and the table is true."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from netdaemon import blocking
from netdaemon.wire.commands import List, Shutdown, Watch
from netdaemon.wire.records import State
from netdaemon.wire.told import ProcessRecord
from tests.faults.wire import eventually
from tests.postgres import Postgres, postgres, programs
from tests.support import LONG, Figure
from tests.survive.world import World, kill, marked, world

BIN = programs()
pytestmark = pytest.mark.skipif(BIN is None, reason="PostgreSQL is not installed")

EXAMPLE = Path(__file__).parents[2] / "examples" / "panel_postgres.py"

ROUNDS = 50 if LONG else 4

# Seconds until all is as it is wanted, on a busy machine: a server may have to be tried again.
SETTLED = 120.0

# What users want, as often as they do, and of how many servers at least.
WANTED = ("running", "running", "running", "stopped", "absent")
FEWEST = 5

# A server: one process, that does as it is told.
SERVER = "while read -r line; do case $line in stop) exit 0;; crash) exit 3;; esac; done"

STOP = json.dumps([{"stdin": "stop\n"}, {"wait": 5000}, {"kill": True}])

# The table must never tell of an earlier generation than it has told of already.
NEVER_BACK = """
CREATE TABLE backwards (server bigint, before bigint, after bigint);
CREATE FUNCTION look_back() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN INSERT INTO backwards VALUES (NEW.id, OLD.generation, NEW.generation); RETURN NULL; END $$;
CREATE TRIGGER look_back AFTER UPDATE ON servers FOR EACH ROW
    WHEN (NEW.process = OLD.process AND NEW.generation < OLD.generation) EXECUTE FUNCTION look_back();
"""

# A database that takes its time: so a kill falls into the middle of what belongs together.
SLOW = """
CREATE FUNCTION take_time() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_sleep(random() * 0.1); RETURN NULL; END $$;
CREATE TRIGGER take_time AFTER INSERT ON history FOR EACH ROW EXECUTE FUNCTION take_time();
"""


class Hosting:
    """A panel with its database and its daemon, and what its users do."""

    def __init__(self, database: Postgres, daemon: World) -> None:
        self.daemon = daemon
        self.database = database
        self.conninfo = database.new_database()
        self.log = daemon.directory / "panel.log"
        self.panels: list[subprocess.Popen[bytes]] = []
        # The latest id of those that `change` has made.
        self.last = 0
        # Where the daemon was before there was anything.
        self.began = daemon.ask(Watch()).cursor
        self.connect()

    def connect(self) -> None:
        self.sql = psycopg.connect(self.conninfo, autocommit=True, row_factory=dict_row)

    # --- the panel ---

    def start(self) -> subprocess.Popen[bytes]:
        """Start a panel, and wait for nothing."""
        command = [sys.executable, "-W", "error", str(EXAMPLE), self.conninfo, f"unix:{self.daemon.path}"]
        with self.log.open("ab") as log:
            self.panels.append(
                subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
            )
        return self.panels[-1]

    def kill(self) -> None:
        """Kill the latest panel, and wait until it is dead."""
        panel = self.panels.pop()
        kill(panel.pid)
        assert panel.wait() == -signal.SIGKILL, self.told()

    def told(self) -> str:
        return self.log.read_text(errors="replace")

    def tables(self) -> None:
        """Wait until the panel has made them."""
        eventually(lambda: self.rows("SELECT to_regclass('cursor') AS found")[0]["found"])
        # Its transaction is over when this can be done.
        self.sql.execute(NEVER_BACK)

    def close(self) -> None:
        self.sql.close()
        for panel in self.panels:
            ended = panel.poll()
            panel.kill()
            panel.wait()
            assert ended is None, f"a panel ended with {ended}:\n{self.told()}"
        assert "Traceback" not in self.told(), self.told()

    # --- its users ---

    def rows(self, question: str, *values: object) -> list[dict[str, Any]]:
        return self.sql.execute(question.encode(), values).fetchall()

    def row(self, id: int) -> dict[str, Any]:
        [row] = self.rows("SELECT * FROM servers WHERE id = %s", id)
        return row

    def insert(self, id: int, *argv: str, wanted: str = "running", stop: str | None = None) -> None:
        self.sql.execute(
            "INSERT INTO servers (id, name, argv, wanted, stop) OVERRIDING SYSTEM VALUE VALUES (%s, %s, %s, %s, %s)",
            (id, f"game {id}", list(argv) or self.argv(id, "first"), wanted, stop),
        )

    def argv(self, id: int, word: str) -> list[str]:
        """A server whose row can be told by its arguments."""
        return ["/bin/sh", "-c", SERVER, "server", f"{self.daemon.marker}/{id}/", word]

    def update(self, id: int, what: str, *values: object) -> None:
        self.sql.execute(f"UPDATE servers SET {what} WHERE id = %s".encode(), (*values, id))

    def children(self, id: int) -> list[int]:
        return marked(f"{self.daemon.marker}/{id}/")

    # --- what is true ---

    def records(self) -> dict[str, ProcessRecord]:
        found = self.daemon.ask(List(select=("label.db_id=*",))).processes
        return {one.key: one for one in found}

    def untrue(self) -> list[str]:
        """Where the table, the daemon's list and the kernel's processes differ, or are not as they are wanted."""
        records, found = self.records(), []
        rows = self.rows("SELECT * FROM servers ORDER BY id")
        living: list[int] = []
        for row in rows:
            record, children = records.pop(f"panel/{row['id']}", None), self.children(row["id"])
            told = {name: row[name] for name in ("process", "state", "generation", "pid", "code", "signal", "trouble")}
            if record is None:
                true = row["process"] is None and row["pid"] is None and row["state"] in (None, "removed")
                ended = row["wanted"] != "running"
            else:
                same = ("generation", "pid", "code", "signal")
                true = row["process"] == record.id and row["state"] == record.state.value
                true = true and all(row[name] == getattr(record, name) for name in same)
                ended = row["wanted"] == "stopped" and record.state is State.EXITED
                if row["wanted"] == "running":
                    true = true and record.state is State.RUNNING and children == [record.pid]
                    true = true and row["retired"] not in (None, f"{record.id}/{record.generation}")
                living += children
            ended = ended and not children
            if not true or not (ended or row["wanted"] == "running") or row["trouble"] is not None:
                found.append(f"{row['id']}, wanted {row['wanted']}: {told}, {record}, {children}")
            elif row["wanted"] == "running" and record is None:
                found.append(f"{row['id']} is not there")
        found += [f"{key} has no row" for key in records]
        if sorted(living) != sorted(self.daemon.pids()):
            found.append(f"{living} are listed, and {self.daemon.pids()} live")
        return found

    def settled(self) -> None:
        """Wait until all is as it is wanted, and told so."""
        deadline = time.monotonic() + SETTLED
        while untrue := self.untrue():
            assert time.monotonic() < deadline, "\n".join([*untrue, self.told()[-4000:]])
            time.sleep(0.1)
        self.check()

    def check(self) -> None:
        """Nothing has gone back, and the history is what the daemon has told, each once."""
        assert self.rows("SELECT * FROM backwards") == []
        with self.sql.transaction():
            # Both as they are at one moment: events of servers without a row may come still.
            self.sql.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            history = self.rows("SELECT * FROM history ORDER BY number")
            [row] = self.rows("SELECT cursor FROM cursor")
        again = Counter((one["process"], one["cursor"]) for one in history)
        assert max(again.values(), default=1) == 1, again.most_common(5)
        # In the daemon's own words, from the beginning up to where the panel is.
        told = []
        with blocking.connect(self.daemon.path) as client:
            watch = client.watch("label.db_id=*", since=self.began)
            assert not watch.fresh
            while history and (not told or told[-1].cursor != row["cursor"]):
                told.append(watch.next_event(SETTLED))
        columns = ("process", "generation", "type", "cursor")
        assert [tuple(one[name] for name in columns) for one in history] == [
            (one.process.id, one.process.generation, one.type.value, one.cursor) for one in told
        ]

    def doubled(self) -> list[str]:
        """The servers that run twice at this moment."""

        def twice() -> set[tuple[str, int]]:
            pids = [(pid, _row_of(pid, self.daemon.marker)) for pid in self.daemon.pids()]
            count = Counter(id for _, id in pids if id)
            return {(id, pid) for pid, id in pids if count[id] > 1}

        first = twice()
        # One of them may have ended between the looks at the two.
        second = {id for id, _ in first & twice()} if first else set()
        return sorted(id for id in second if sum(one == id for one, _ in first) > 1 and len(self.children(int(id))) > 1)


def _row_of(pid: int, marker: str) -> str | None:
    with contextlib.suppress(OSError):
        for word in Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0"):
            if word.startswith(marker):
                return word.split("/")[1]
    return None


@pytest.fixture(scope="module")
def database() -> Iterator[Postgres]:
    assert BIN is not None
    with postgres(BIN) as running:
        yield running


@pytest.fixture
def hosting(database: Postgres) -> Iterator[Hosting]:
    with world() as daemon:
        made = Hosting(database, daemon)
        try:
            made.start()
            made.tables()
            yield made
        finally:
            made.close()


def until(hosting: Hosting, id: int, condition: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    """Wait until a row is so."""
    return eventually(lambda: condition(row := hosting.row(id)) and row, SETTLED)  # type: ignore[no-any-return]


def test_rows_become_processes(hosting: Hosting) -> None:
    """Inserted, stopped, run again, changed, retired, unwanted and deleted rows: the processes follow."""
    hosting.insert(1, stop=STOP)
    hosting.insert(2)
    hosting.insert(3, wanted="stopped")
    hosting.settled()
    first = hosting.row(1)
    assert (first["state"], first["generation"]) == ("running", 1)
    assert hosting.row(3)["process"] is None

    hosting.update(1, "wanted = 'stopped'")
    hosting.settled()
    stopped = hosting.row(1)
    assert (stopped["state"], stopped["code"], stopped["process"]) == ("exited", 0, first["process"])

    hosting.update(1, "wanted = 'running'")
    hosting.update(3, "wanted = 'running'")
    hosting.settled()
    assert (hosting.row(1)["process"], hosting.row(1)["generation"]) == (first["process"], 2)
    assert hosting.row(3)["generation"] == 1

    # Changed arguments count from the next run on, and that is asked for apart.
    hosting.update(2, "argv = %s", hosting.argv(2, "second"))
    eventually(lambda: hosting.records()["panel/2"].argv[-1] == "second")
    hosting.settled()
    assert hosting.row(2)["generation"] == 1
    assert b"first" in Path(f"/proc/{hosting.row(2)['pid']}/cmdline").read_bytes()
    hosting.update(2, "retired = NULL")
    hosting.settled()
    assert hosting.row(2)["generation"] == 2
    assert b"second" in Path(f"/proc/{hosting.row(2)['pid']}/cmdline").read_bytes()

    hosting.update(1, "wanted = 'absent'")
    hosting.sql.execute("DELETE FROM servers WHERE id = 2")
    hosting.settled()
    assert hosting.row(1)["state"] == "removed"
    assert set(hosting.records()) == {"panel/3"}

    hosting.update(1, "wanted = 'running'")
    hosting.settled()
    assert hosting.row(1)["process"] != first["process"]


def test_crash_is_told(hosting: Hosting) -> None:
    """A server that crashes is started again by the daemon; the table and the history tell it."""
    hosting.insert(1)
    hosting.settled()
    before = hosting.row(1)
    with blocking.connect(hosting.daemon.path) as client:
        client.attach("server-1").write(b"crash\n")
    after = until(hosting, 1, lambda row: row["generation"] == 2 and row["state"] == "running")
    assert after["pid"] != before["pid"]
    assert after["process"] == before["process"]
    kill(after["pid"])
    until(hosting, 1, lambda row: row["generation"] == 3 and row["state"] == "running")
    hosting.settled()
    told = [(one["type"], one["generation"]) for one in hosting.rows("SELECT * FROM history ORDER BY number")]
    assert told == [
        ("created", 1),
        ("started", 1),
        ("exited", 1),
        ("backoff", 1),
        ("started", 2),
        ("exited", 2),
        ("backoff", 2),
        ("started", 3),
    ]


# What is wrong in a row, and a word of what it is told with.
WRONG = {
    "argv = '{/usr/bin/no-such-program}'": "no-such-program",
    "argv = '{}'": "argv",
    "argv = '{/bin/true,NULL}'": "None",
    """stop = '[{"shout": "stop"}]'""": "shout",
    """stop = '[{"stdin": 5}]'""": "encode",
    """stop = '[{"stdin": "stop"}, {"wait": 1.5}]'""": "1.5",
    """stop = '"quit"'""": "str",
    """env = '{"A": 1}'""": "1",
    "env = '5'": "int",
    "cwd = 'here'": "cwd",
    "cwd = '/no/such/directory'": "stage cwd",
    "restart = 'sometimes'": "sometimes",
    "name = repeat('x', 1000)": "title",
}


def test_trouble_is_of_one(hosting: Hosting) -> None:
    """What cannot be is told in its row; the others go on, and it is well once it is mended."""
    hosting.insert(1)
    for id, wrong in enumerate(WRONG, 2):
        with hosting.sql.transaction():
            hosting.insert(id)
            hosting.update(id, wrong)
    hosting.insert(100)
    for id, word in enumerate(WRONG.values(), 2):
        assert word in until(hosting, id, lambda row: row["trouble"])["trouble"]
        assert hosting.children(id) == []
    for id in (1, 100):
        until(hosting, id, lambda row: row["state"] == "running")
        assert hosting.row(id)["trouble"] is None
    for id in range(2, 2 + len(WRONG)):
        hosting.update(id, "name = 'mended', argv = %s, stop = %s, env = '{}'", hosting.argv(id, "mended"), STOP)
        hosting.update(id, "cwd = '/', restart = 'always'")
    hosting.settled()
    assert "tried again" not in hosting.told()


def test_by_hand(hosting: Hosting) -> None:
    """Whatever is done behind the panel's back is put right."""
    hosting.insert(1)
    hosting.insert(2, wanted="running")
    hosting.settled()
    hosting.update(2, "wanted = 'stopped'")
    hosting.settled()
    with blocking.connect(hosting.daemon.path) as client:
        process = hosting.row(1)["process"]
        client.stop(process)
        client.remove(process)
        client.restart("server-2")
    until(hosting, 1, lambda row: row["process"] not in (process, None))
    until(hosting, 2, lambda row: row["generation"] == 2 and row["state"] == "exited")
    hosting.settled()


def test_of_somebody_else(hosting: Hosting) -> None:
    """A process that has the name of a row's is none of ours, whatever the row wants."""
    with blocking.connect(hosting.daemon.path) as client:
        other = client.start(["/bin/sleep", "1000"], name="server-1", labels={"db_id": "1"}, attach=False).id
        hosting.insert(1)
        hosting.insert(2)
        until(hosting, 2, lambda row: row["state"] == "running")
        assert "server-1" in until(hosting, 1, lambda row: row["trouble"])["trouble"]
        hosting.update(1, "wanted = 'absent'")
        until(hosting, 1, lambda row: row["trouble"] is None)
        hosting.sql.execute("DELETE FROM servers WHERE id = 1")
        hosting.sql.execute("DELETE FROM servers WHERE id = 2")
        eventually(lambda: "panel/2" not in hosting.records())
        assert client.inspect(other).state is State.RUNNING
        assert hosting.rows("SELECT * FROM history WHERE process = %s", other) == []


def test_one_panel_at_a_time(hosting: Hosting) -> None:
    """A second one waits, and takes over when the first is dead."""
    hosting.insert(1)
    hosting.settled()
    hosting.start()
    eventually(lambda: "another panel" in hosting.told())
    first = hosting.panels.pop(0)
    kill(first.pid)
    first.wait()
    hosting.insert(2)
    hosting.settled()


def test_database_restarted(hosting: Hosting) -> None:
    """While there is no database, servers go on; afterwards the table is told what was missed, once."""
    hosting.insert(1)
    hosting.settled()
    pid = hosting.row(1)["pid"]
    hosting.sql.close()
    hosting.database.stop()
    kill(pid)
    with blocking.connect(hosting.daemon.path) as client:
        eventually(lambda: client.inspect("server-1").generation == 2)
    hosting.database.start()
    hosting.connect()
    hosting.settled()
    assert hosting.row(1)["generation"] == 2


def test_daemon_begun_anew(hosting: Hosting) -> None:
    """A daemon that knows nothing of before: what is to run does, and what is not there is told so."""
    hosting.insert(1)
    hosting.insert(2)
    hosting.settled()
    hosting.update(2, "wanted = 'stopped'")
    hosting.settled()
    before = hosting.row(1)["process"]
    hosting.daemon.ask(Shutdown())
    hosting.daemon.process.wait(SETTLED)
    hosting.daemon.start()
    hosting.daemon.ready()
    until(hosting, 1, lambda row: row["process"] not in (before, None))
    until(hosting, 2, lambda row: row["state"] == "removed")
    eventually(lambda: not hosting.untrue(), SETTLED)


def test_kills(hosting: Hosting, figure: Figure) -> None:
    """The panel, the daemon or both are killed at any moment, while what is wanted changes."""
    chance = Random("panel")
    hosting.sql.execute(SLOW)
    hosting.insert(0)
    hosting.settled()
    changes = 0
    for number in range(ROUNDS):
        for _ in range(chance.randrange(2, 9)):
            change(hosting, chance)
            changes += 1
        time.sleep(chance.uniform(0, 0.5))
        victim = chance.choice(("panel", "daemon", "both"))
        if victim != "daemon":
            hosting.kill()
        if victim != "panel":
            hosting.daemon.kill()
        assert hosting.doubled() == []
        for _ in range(chance.randrange(4)):
            change(hosting, chance)
            changes += 1
        if victim != "panel":
            hosting.daemon.start()
        if victim != "daemon":
            hosting.start()
        time.sleep(chance.uniform(0, 1.5))
        assert hosting.doubled() == []
        if number % 5 == 4:
            hosting.daemon.ready()
            hosting.settled()
    hosting.daemon.ready()
    hosting.settled()
    events = len(hosting.rows("SELECT number FROM history"))
    what = f"panel, daemon or both killed {ROUNDS} times, {changes} changes:"
    figure(f"{what} events lost or applied twice", f"0 of {events}", "0")


def test_restart_is_done_once(hosting: Hosting) -> None:
    """What was asked for once is done once, whoever is killed meanwhile."""
    chance = Random("once")
    hosting.sql.execute(SLOW)
    hosting.insert(1)
    hosting.settled()
    for number in range(ROUNDS // 2):
        hosting.update(1, "retired = NULL")
        time.sleep(chance.uniform(0, 0.1))
        hosting.kill()
        if number % 3 == 2:
            hosting.daemon.kill()
            hosting.daemon.start()
        hosting.start()
        hosting.daemon.ready()
        hosting.settled()
        assert hosting.row(1)["generation"] == number + 2


def change(hosting: Hosting, chance: Random) -> None:
    """Something that a user does, or that happens."""
    ids = [row["id"] for row in hosting.rows("SELECT id FROM servers ORDER BY id")]
    id = chance.choice(ids) if ids else 0
    what = chance.randrange(8)
    if what == 0 or len(ids) < FEWEST:
        hosting.last += 1
        hosting.insert(hosting.last, wanted=chance.choice(WANTED), stop=chance.choice((None, STOP)))
    elif what == 1:
        hosting.sql.execute("DELETE FROM servers WHERE id = %s", (id,))
    elif what == 2:
        hosting.update(id, "argv = %s", hosting.argv(id, str(chance.random())))
    elif what == 3:
        hosting.update(id, "retired = NULL")
    elif what == 4:
        for pid in hosting.children(id)[:1]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    else:
        hosting.update(id, "wanted = %s", chance.choice(WANTED))
