"""A real PostgreSQL server for tests: in a directory of its own, on a socket there; knows no tables."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg

from tests.support import PATIENCE

# Where Debian has its programs, a directory for each version; elsewhere they are in the PATH.
DEBIAN = Path("/usr/lib/postgresql")

# PostgreSQL refuses to run as root; the package's own user, or one that every machine has.
USERS = ("postgres", "nobody")


def programs() -> Path | None:
    """The directory with initdb and postgres, of the latest version there is; None: it is not installed."""
    found = [one.parent for one in DEBIAN.glob("*/bin/initdb") if (one.parent / "postgres").exists()]
    if found:
        return max(found, key=lambda one: [int(number) for number in re.findall(r"\d+", one.parent.name)])
    initdb = shutil.which("initdb")
    return Path(initdb).resolve().parent if initdb and shutil.which("postgres") else None


class Postgres:
    """A server that can be stopped and started again; its superuser is ``panel``."""

    def __init__(self, directory: Path, bin: Path) -> None:
        self._bin = bin
        self._directory = directory
        self._user = next(map(pwd.getpwnam, _known())) if os.geteuid() == 0 else None
        self._process: subprocess.Popen[bytes] | None = None
        if self._user is not None:
            os.chown(directory, self._user.pw_uid, self._user.pw_gid)
        command = [bin / "initdb", "--auth=trust", "--username=panel", "--no-sync", "--encoding=UTF8", "--locale=C"]
        made = self._run([*map(str, command), "--pgdata", str(directory / "data")])
        assert made.wait(PATIENCE * 4) == 0, self.told()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        data, sockets = str(self._directory / "data"), str(self._directory)
        options = ["-c", "listen_addresses=", "-c", f"unix_socket_directories={sockets}"]
        self._process = self._run([str(self._bin / "postgres"), "-D", data, *options])
        deadline = time.monotonic() + PATIENCE * 2
        while True:
            try:
                psycopg.connect(self._conninfo("postgres")).close()
                return
            except psycopg.OperationalError:
                assert self._process.poll() is None, self.told()
                assert time.monotonic() < deadline, self.told()
                time.sleep(0.05)

    def stop(self) -> None:
        """Stop it by its own pid, whoever is connected."""
        if self._process is not None:
            # A "fast shutdown": connections are cut.
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self._process.send_signal(signal.SIGQUIT)
                self._process.wait()
            self._process = None

    def new_database(self) -> str:
        """An empty database; what a client connects to it with."""
        name = f"test{secrets.token_hex(4)}"
        with psycopg.connect(self._conninfo("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self._conninfo(name)

    def _conninfo(self, database: str) -> str:
        return f"host={self._directory} user=panel dbname={database}"

    def told(self) -> str:
        """Its log."""
        return (self._directory / "log").read_text(errors="replace")

    def _run(self, command: list[str]) -> subprocess.Popen[bytes]:
        with (self._directory / "log").open("ab") as log:
            return subprocess.Popen(
                command,
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=None if self._user is None else self._user.pw_uid,
                group=None if self._user is None else self._user.pw_gid,
                extra_groups=None if self._user is None else [],
            )


def _known() -> Iterator[str]:
    names = {one.pw_name for one in pwd.getpwall()}
    return (name for name in USERS if name in names)


@contextlib.contextmanager
def postgres(bin: Path) -> Iterator[Postgres]:
    """A server that answers, and is gone afterwards with all that it had.

    :param bin: see `programs`.
    """
    # Short, as the paths of sockets have to be; and where its user may come.
    directory = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))
    try:
        server = Postgres(directory, bin)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(directory)
