"""The file: torn, foreign, newer or not to be had; each ends in a database that works, or in a clear error."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from netdaemon.daemon import database_file
from netdaemon.daemon.database import Database, DatabaseDamaged, DatabaseFailed, DatabaseUnusable
from tests.daemon.entries import entry, opened, own
from tests.support import LONG, readable

PAGE = 4096
ROUNDS = 20 if LONG else 6


def filled(path: Path, count: int = 300) -> str:
    """A database with so many processes; its instance."""
    with opened(path) as database:
        database.commit([entry(f"{one:04}", name="n", finished=one % 2 == 0, saved=b"s" * 300) for one in range(count)])
        return database.instance


def works(database: Database) -> bool:
    """It takes in what is new, and tells what it has."""
    database.commit([entry("fresh", 1), entry("fresh", 2)])
    database.unfinished()
    database.page(None, 1000)
    database.find("n")
    return own(database.events(database.span()[1] - 2, 9))[-1][1:] == ("fresh", 2)


# --- another file ----------------------------------------------------------------------------------------------------


def foreign(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE meta (instance)")
    connection.execute("INSERT INTO meta VALUES ('precious')")
    connection.commit()
    connection.close()


def without_instance(path: Path) -> None:
    filled(path)
    connection = sqlite3.connect(path)
    connection.execute("DELETE FROM meta")
    connection.commit()
    connection.close()


def without_a_table(path: Path) -> None:
    filled(path)
    connection = sqlite3.connect(path)
    connection.execute("DROP TABLE meta")
    connection.commit()
    connection.close()


def emptied(path: Path) -> None:
    """Its content is gone, and the log beside it is not."""
    path.write_bytes(b"")
    path.with_name(path.name + "-wal").write_bytes(b"w" * 100)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b"garbage" * 1000),
        lambda path: path.write_bytes(b"x"),
        lambda path: path.write_bytes(bytes(PAGE * 3)),
        foreign,
        without_instance,
        without_a_table,
        emptied,
    ],
    ids=["garbage", "one byte", "zeros", "another program's", "no instance", "no table", "emptied"],
)
def test_set_aside(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    """It is kept under another name, as it was, and a new one is begun, which stays."""
    path = tmp_path / "journal"
    spoil(path)
    before = path.read_bytes()
    with opened(path) as database:
        aside = database.set_aside
        assert aside is not None
        assert aside.startswith(f"{path}.corrupt-20")
        assert Path(aside).read_bytes() == before
        assert database.span() == (1, 0)
        assert works(database)
        instance = database.instance
    with opened(path) as database:
        assert database.set_aside is None
        assert database.instance == instance
        assert database.span() == (1, 2)


def test_set_aside_again(tmp_path: Path) -> None:
    """Two in one second have two names."""
    path = tmp_path / "journal"
    aside = set()
    for content in (b"one", b"two", b"three"):
        path.write_bytes(content)
        with opened(path) as database:
            assert database.set_aside is not None
            aside.add(Path(database.set_aside).read_bytes())
    assert aside == {b"one", b"two", b"three"}


def test_an_empty_file_is_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_bytes(b"")
    with opened(path) as database:
        assert database.set_aside is None
        assert works(database)


def test_begun_and_not_made(tmp_path: Path) -> None:
    """Killed between the first page and the tables."""
    path = tmp_path / "journal"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.close()
    assert path.stat().st_size
    with opened(path) as database:
        assert database.set_aside is None
        assert works(database)


def test_a_newer_one_is_refused(tmp_path: Path) -> None:
    """And not touched."""
    path = tmp_path / "journal"
    filled(path)
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {database_file.SCHEMA + 1}")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(DatabaseUnusable, match=r"newer netdaemon \(form 2, and 1 is known\)"):
        Database(str(path))
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["journal"]


def test_what_cannot_be_had(tmp_path: Path) -> None:
    """Said with the path, and nothing is changed."""
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for name, why in (("directory", "directory"), ("fifo", "regular"), ("link", "symbolic"), ("no/where", "No such")):
        with pytest.raises(DatabaseUnusable, match=f"{name}.*{why}"):
            Database(str(tmp_path / name))
    assert sorted(os.listdir(tmp_path)) == ["directory", "fifo", "link"]


def test_a_log_that_cannot_be_had(tmp_path: Path) -> None:
    """A new file is not left half made."""
    (tmp_path / "journal-journal").mkdir()
    with pytest.raises(DatabaseUnusable, match="journal: unable to open"):
        Database(str(tmp_path / "journal"))
    assert os.listdir(tmp_path) == ["journal-journal"]
    (tmp_path / "other-wal").mkdir()
    with opened(tmp_path / "other") as database:
        assert database.set_aside is not None
        assert works(database)


def test_odd_names(tmp_path: Path) -> None:
    """A path is no URI."""
    path = tmp_path / "a b?mode=memory#%41"
    filled(path)
    assert path.stat().st_size > PAGE
    with opened(path) as database:
        assert works(database)


def test_somebody_else_has_it_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That passes: it is no damage."""
    monkeypatch.setattr(database_file, "WRITER_PATIENCE", 0.05)
    path = tmp_path / "journal"
    with opened(path) as database:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseFailed, match="locked") as failed:
            database.commit([entry("a", 1)])
        assert not isinstance(failed.value, DatabaseDamaged)
        other.execute("ROLLBACK")
        other.close()
        assert own(database.commit([entry("a", 1)])) == [(1, "a", 1)]


# --- a torn file -----------------------------------------------------------------------------------------------------


def overwritten(octets: bytearray, chance: random.Random) -> None:
    for _ in range(chance.randint(1, 4)):
        start = chance.randrange(len(octets) // PAGE) * PAGE
        octets[start : start + PAGE] = chance.randbytes(PAGE)


def cut(octets: bytearray, chance: random.Random) -> None:
    del octets[chance.randrange(len(octets)) :]


def bitten(octets: bytearray, chance: random.Random) -> None:
    for _ in range(chance.randint(1, 50)):
        octets[chance.randrange(len(octets))] ^= 1 << chance.randrange(8)


@pytest.mark.parametrize("checked", [True, False], ids=["looked through", "too large for that"])
@pytest.mark.parametrize("tear", [overwritten, cut, bitten])
def test_torn(
    tmp_path: Path, tear: Callable[[bytearray, random.Random], None], checked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is left of it: it works, at once or once it has been renewed, and tells nothing that was never said."""
    if not checked:
        monkeypatch.setattr(database_file, "CHECKED_OCTETS", 0)
    path = tmp_path / "journal"
    filled(path)
    whole = path.read_bytes()
    for seed in range(30):
        chance = random.Random(seed)
        octets = bytearray(whole)
        tear(octets, chance)
        for leftover in tmp_path.iterdir():
            leftover.unlink()
        path.write_bytes(octets)
        try:
            database = Database(str(path))
        except DatabaseUnusable as error:
            # The bit that is wrong was one of the form's number.
            assert "newer netdaemon" in str(error)
            continue
        try:
            assert works(database)
        except DatabaseDamaged:
            database.renew()
            assert database.set_aside is not None
            assert works(database)
        assert {one.record.id for one in database.page(None, 1000)} <= {f"{one:04}" for one in range(300)}
        database.close()


def killed_after_a_commit(path: Path) -> Path:
    """Have *path* a write-ahead log; that."""
    program = (
        "import os, sys; from tests.daemon.entries import *\n"
        "database = Database(sys.argv[1]); database.commit([entry('a', 1)]); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    return Path(f"{path}-wal")


def test_a_torn_log(tmp_path: Path) -> None:
    """What is whole in it counts; garbage in its place is as if there were none."""
    path = tmp_path / "journal"
    filled(path)
    whole, log = path.read_bytes(), killed_after_a_commit(path).read_bytes()
    chance = random.Random(1)
    for octets, last in (
        (log, 301),
        (log[: len(log) // 2], 300),
        (log[:-1], 300),
        (b"", 300),
        (chance.randbytes(len(log)), 300),
        (log + chance.randbytes(5000), 301),
    ):
        for leftover in tmp_path.iterdir():
            leftover.unlink()
        path.write_bytes(whole)
        Path(f"{path}-wal").write_bytes(octets)
        with opened(path) as database:
            assert database.set_aside is None
            assert database.span() == (1, last)
            assert works(database)


def test_the_log_is_of_another_file(tmp_path: Path) -> None:
    """The main file was lost or replaced: what is in the log is put where it does not belong, which is found out."""
    path = tmp_path / "journal"
    filled(path)
    killed_after_a_commit(path)
    path.write_bytes(b"garbage" * 20_000)
    with opened(path) as database:
        assert database.set_aside is not None
        assert os.path.exists(database.set_aside)
        assert works(database)


def test_renewing_that_fails(tmp_path: Path) -> None:
    """It may be tried again, and what is set aside is set aside once."""
    folder, moved = tmp_path / "folder", tmp_path / "moved"
    folder.mkdir()
    path = folder / "journal"
    filled(path)
    with opened(path) as database:
        folder.rename(moved)
        for _ in range(3):
            with pytest.raises(DatabaseUnusable, match="No such"):
                database.renew()
            with pytest.raises(DatabaseFailed):
                database.span()
            with pytest.raises(DatabaseFailed):
                database.commit([entry("a", 1)])
        moved.rename(folder)
        database.renew()
        assert works(database)
        assert len([name for name in os.listdir(folder) if ".corrupt-" in name and name.endswith("Z")]) == 1


def test_renewing_for_which_there_is_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left of the attempt: the next one would take it for something to keep."""
    path = tmp_path / "journal"
    filled(path)
    with opened(path) as database:
        with monkeypatch.context() as patched:
            patched.setattr(database_file, "_TABLES", "PRAGMA max_page_count = 1; " + database_file._TABLES)
            for _ in range(3):
                with pytest.raises(DatabaseUnusable, match="full"):
                    database.renew()
        database.renew()
        assert works(database)
        assert sorted(name.partition("Z")[2] for name in os.listdir(tmp_path) if "corrupt" in name) == [""]


# --- killed ----------------------------------------------------------------------------------------------------------

# Commits, deletes now and then, and tells what it has been told is in. What a daemon does not know to be in, it brings
# again: here, the last ten.
COMMITTING = """
import os, sys
from tests.daemon.entries import *
database = Database(sys.argv[1])
assert database.set_aside is None, database.set_aside
number = max(1, database.numbers(["a"]).get("a", 0) - 10)
while True:
    entries = [entry("a", one, saved=b"s" * 900) for one in range(number, number + 20)]
    for n, _, one in own(database.commit(entries)):
        os.write(1, b"%d %d\\n" % (n, one))
    number += 20
    if number % 7 == 0:
        database.trim(events=5000, events_age_us=1 << 60, finished=9, finished_age_us=1 << 60, now_us=1, most=50)
"""


def test_killed_at_any_moment(tmp_path: Path) -> None:
    """What was told to be in is in, with that number; nothing is in twice; the file is sound."""
    path = tmp_path / "journal"
    chance = random.Random(9)
    told: dict[int, int] = {}
    for _ in range(ROUNDS):
        with subprocess.Popen(
            [sys.executable, "-c", COMMITTING, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as committing:
            assert committing.stdout is not None
            assert committing.stderr is not None
            assert readable(committing.stdout, 30)
            # From here on it commits, some thousands a second.
            assert not readable(committing.stderr, chance.random() * 0.1)
            committing.send_signal(signal.SIGKILL)
            lines = committing.stdout.read().split(b"\n")
            assert committing.wait() == -signal.SIGKILL
        for n, number in (map(int, line.split()) for line in lines[:-1]):
            # What was not told before the end may be in between; the two rise together in any case.
            assert n not in told
            told[n] = number
        connection = sqlite3.connect(path)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        connection.close()
        with opened(path) as database:
            first, last = database.span()
            kept: list[tuple[int, str, int]] = []
            while more := database.events(kept[-1][0] if kept else 0, 10_000):
                kept += own(more)
        assert [n for n, _, _ in kept] == list(range(first, last + 1))
        # One process, whose numbers begin with 1, as those of the journal do.
        assert all(n == number for n, _, number in kept)
        assert all(n == number for n, number in told.items())
        assert last >= max(told)
    assert len(told) > 20 * ROUNDS


def test_numbers_after_a_reboot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was told last may not be on the disk: its numbers are nobody else's."""
    path = str(tmp_path / "journal")
    database = Database(path)
    (number, _), instance = database.commit([entry("a", 1)])[0], database.instance
    database.close()
    database = Database(path)
    assert database.commit([entry("a", 2)])[0][0] == number + 1
    database.close()
    monkeypatch.setattr(database_file, "boot_id", lambda: "another")
    database = Database(path)
    assert database.instance == instance
    assert database.commit([entry("a", 3)])[0][0] == number + 2 + database_file.SKIPPED
    assert [n for n, _ in database.events(number, 10)] == [number + 1, number + 2 + database_file.SKIPPED]
    database.close()
