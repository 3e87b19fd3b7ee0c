"""One SQLite file: had as it is, begun anew or set aside, its tables made; knows none of the questions asked of it."""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
import stat
import time
from collections.abc import Iterator
from urllib.parse import quote

from netdaemon.errors import NetdaemonError

# Bytes of the smallest page.
SMALLEST = 512

# "netd": tells a file of ours from any other program's.
APPLICATION = 0x6E657464

# Raised when the tables change; a file with a higher one belongs to a newer netdaemon.
SCHEMA = 1

# A file up to this size is looked through when it is opened, which takes 50 ms then. In a larger one, damage is
# found when it is come upon.
CHECKED_OCTETS = 64 * 1024 * 1024

# Seconds to wait for somebody else who has the file locked, a curious person's sqlite3 for one: the writer is on a
# thread of its own, the reader keeps the loop waiting.
WRITER_PATIENCE = 5.0
READER_PATIENCE = 0.2

# What the write-ahead log may keep of the disk once it was larger.
LOG_OCTETS = 16 * 1024 * 1024

# What each connection keeps of the file in memory: the pages that are written to again and again. The kernel has the
# rest.
CACHE_KIBIBYTES = 512

# Numbers of events that are left out when the machine has been started again: more than there can be in what the disk
# had not taken.
SKIPPED = 1_000_000

# What SQLite says of a file whose content is not as it left it, a missing table or a number twice included.
_DAMAGED = frozenset(
    {
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_FORMAT,
        sqlite3.SQLITE_CONSTRAINT,
        sqlite3.SQLITE_MISMATCH,
        sqlite3.SQLITE_ERROR,
    }
)

# Of a process: ``number`` is its last own one, ``n`` that of its last event, ``ended`` when it exited. What is long
# comes last: SQLite does not read it for the sake of what stands before.
_TABLES = """
CREATE TABLE meta (instance TEXT NOT NULL, boot TEXT NOT NULL);
CREATE TABLE events (
    n INTEGER PRIMARY KEY AUTOINCREMENT, time INTEGER NOT NULL, process TEXT NOT NULL, sum INTEGER NOT NULL,
    event BLOB NOT NULL);
CREATE TABLE processes (
    id TEXT NOT NULL PRIMARY KEY, number INTEGER NOT NULL, n INTEGER NOT NULL, state INTEGER NOT NULL,
    created INTEGER NOT NULL, ended INTEGER NOT NULL, name TEXT, sum INTEGER NOT NULL, record BLOB NOT NULL,
    saved BLOB NOT NULL);
CREATE INDEX unfinished ON processes (created, id) WHERE state = 0;
CREATE INDEX finished ON processes (created, id) WHERE state = 1;
CREATE INDEX ended ON processes (ended, id) WHERE state = 1;
CREATE INDEX named ON processes (name, created, id) WHERE state = 1 AND name IS NOT NULL;
CREATE INDEX gone ON processes (n) WHERE state = 2;
"""


class DatabaseUnusable(NetdaemonError):
    """The database cannot be had; the message says why. Nothing in it has changed."""


class DatabaseFailed(NetdaemonError):
    """It was not done, and nothing has changed: the disk is full, perhaps. It may work later."""


class DatabaseDamaged(DatabaseFailed):
    """The file's content makes no sense any more; `Database.renew` is what is left to do."""


def open_memory() -> tuple[sqlite3.Connection, str]:
    """A connection to an empty database that nobody else can see, and its instance."""
    writer = _connect(":memory:", WRITER_PATIENCE)
    return writer, _create(writer)


def open_file(path: str) -> tuple[sqlite3.Connection, sqlite3.Connection, str]:
    """Two connections to the database at *path*, the second one only for reading, and its instance.

    :raises DatabaseUnusable: it cannot be had, or is a newer netdaemon's.
    :raises DatabaseDamaged: it makes no sense, or is another program's.
    """
    new = _look_at(path)
    try:
        with translated(opening=path):
            writer = _connect(f"file:{quote(path)}?mode=rw", WRITER_PATIENCE)
            try:
                instance = _prepare(writer, path)
                return writer, _connect(f"file:{quote(path)}?mode=ro", READER_PATIENCE), instance
            except BaseException:
                writer.close()
                raise
    except DatabaseUnusable:
        if new:
            # Half a new file would look like the rest of an old one.
            _unlink(path)
        raise


def _look_at(path: str) -> bool:
    """Make sure of a file there, private and regular; whether it is new."""
    try:
        number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    except OSError as error:
        raise DatabaseUnusable(f"{path}: {os.strerror(error.errno or 0)}") from error
    # Closed before SQLite opens it: closing any descriptor of a file gives up all locks on it.
    about = os.fstat(number)
    os.close(number)
    if not stat.S_ISREG(about.st_mode):
        raise DatabaseUnusable(f"{path} is no regular file")
    try:
        left = os.stat(path + "-wal").st_size
    except OSError:
        left = 0
    if about.st_size == 0 and left:
        raise DatabaseDamaged("it is empty, and there is a write-ahead log to it")
    if 0 < about.st_size < SMALLEST:
        # SQLite takes one of a single byte for a new one.
        raise DatabaseDamaged(f"it has {about.st_size} bytes, and {SMALLEST} at least")
    return about.st_size == 0


def _connect(name: str, patience: float) -> sqlite3.Connection:
    connection = sqlite3.connect(
        name, timeout=patience, isolation_level=None, check_same_thread=False, uri=name.startswith("file:")
    )
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIBIBYTES}")
    return connection


def _prepare(writer: sqlite3.Connection, path: str) -> str:
    """Make it a database of ours if it is new; its instance."""
    application, version, objects, size = (
        writer.execute(f"SELECT * FROM {question}").fetchone()[0]
        for question in (
            "pragma_application_id",
            "pragma_user_version",
            "(SELECT count(*) FROM sqlite_master)",
            "(SELECT page_count * page_size FROM pragma_page_count, pragma_page_size)",
        )
    )
    if not application and not version and not objects:
        return _create(writer)
    if application != APPLICATION:
        raise DatabaseDamaged("it is another program's")
    if version > SCHEMA:
        raise DatabaseUnusable(
            f"{path} was made by a newer netdaemon (form {version}, and {SCHEMA} is known); use that, or another "
            "state directory"
        )
    if size <= CHECKED_OCTETS:
        verdict = writer.execute("PRAGMA quick_check(1)").fetchone()[0]
        if verdict != "ok":
            raise DatabaseDamaged(verdict)
    row = writer.execute("SELECT instance, boot FROM meta").fetchone()
    if row is None:
        raise DatabaseDamaged("it has no instance")
    _set_up(writer)
    if row[1] != boot_id():
        # What was committed last may have been lost with the power, and its numbers are known to those who were told.
        writer.executescript(
            f"BEGIN IMMEDIATE; UPDATE sqlite_sequence SET seq = seq + {SKIPPED} WHERE name = 'events';"
            f"UPDATE meta SET boot = '{boot_id()}'; COMMIT"
        )
    return str(row[0])


def boot_id() -> str:
    """A word for this run of the machine; the same for all where it is not told."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return ""


def _set_up(writer: sqlite3.Connection) -> None:
    writer.execute("PRAGMA journal_mode = WAL")
    writer.execute("PRAGMA synchronous = NORMAL")
    writer.execute(f"PRAGMA journal_size_limit = {LOG_OCTETS}")


def _create(writer: sqlite3.Connection) -> str:
    _set_up(writer)
    instance = secrets.token_hex(8)
    # One transaction: it is a database of ours, or nothing.
    writer.executescript(
        f"BEGIN IMMEDIATE; PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {SCHEMA}; {_TABLES};"
        f"INSERT INTO meta (instance, boot) VALUES ('{instance}', '{boot_id()}'); COMMIT"
    )
    return instance


def set_aside(path: str) -> str | None:
    """Give the files at *path* another name, if there are any; that name."""
    aside = unused = f"{path}.corrupt-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    count = 1
    while os.path.lexists(unused):
        count += 1
        unused = f"{aside}.{count}"
    moved = False
    for suffix in ("-shm", "-wal", ""):
        try:
            os.rename(path + suffix, unused + suffix)
            moved = True
        except FileNotFoundError:
            pass
        except OSError as error:
            raise DatabaseUnusable(f"{path}{suffix} cannot be set aside: {os.strerror(error.errno or 0)}") from error
    return unused if moved else None


def _unlink(path: str) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        with contextlib.suppress(OSError):
            os.unlink(path + suffix)


@contextlib.contextmanager
def translated(opening: str | None = None) -> Iterator[None]:
    """Errors of SQLite are raised as ours."""
    try:
        yield
    except sqlite3.Error as error:
        # Of an extended code, the lower half is the kind; what the module itself finds wrong has none.
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_MISUSE) & 0xFF
        if code in _DAMAGED:
            raise DatabaseDamaged(str(error)) from error
        if opening is not None:
            raise DatabaseUnusable(f"{opening}: {error}") from error
        raise DatabaseFailed(str(error)) from error
