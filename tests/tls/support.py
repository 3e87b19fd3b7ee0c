"""A private authority, certificates of it and of others, and a daemon with a TLS port in the reactor of the test."""

from __future__ import annotations

import datetime
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme
from twisted.internet.defer import Deferred

from netdaemon import Credentials
from netdaemon.daemon.service import DaemonService
from netdaemon.daemon.settings import Settings
from netdaemon.policy.judged import Decision, Spec, Subject
from netdaemon.policy.principals import Principal
from netdaemon.policy.verbs import Verb
from netdaemon.process.launcher import LocalLauncher
from netdaemon.tls.endpoint import Listen
from netdaemon.tls.listening import TlsPort
from netdaemon.trust.pins import pin_of
from tests.blocking.proxy import Proxy
from tests.support import RunningDaemon, running_daemon

YESTERDAY = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)


class Keys:
    """A directory with an authority and what it has issued.

    :ivar authority: the file of its certificate.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, exist_ok=True)
        self.directory = directory
        self.ca = trustme.CA()
        self.authority = str(directory / "authority.pem")
        self.ca.cert_pem.write_to_path(self.authority)

    def issue(self, name: str, *names: str, expired: bool = False) -> str:
        """A certificate for *names* with its key, in one file; its path."""
        issued = self.ca.issue_cert(*names, not_after=YESTERDAY if expired else None)
        path = self.directory / f"{name}.pem"
        path.write_bytes(issued.private_key_and_cert_chain_pem.bytes())
        path.chmod(0o600)
        return str(path)

    def credentials(self, name: str, *names: str, expired: bool = False, **other: Any) -> Credentials:
        """Those of a client that is called so."""
        said = other or {"authority": self.authority}
        return Credentials(certificate=self.issue(name, *names, expired=expired), **said)


def pin(path: str) -> str:
    """The pin of the key in the certificate in a file of PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    return pin_of(x509.load_pem_x509_certificates(Path(path).read_bytes())[0].public_bytes(Encoding.DER))


# Whoever has shown a certificate of ours may do everything, and so may who shows the token "secret".
POLICY = """\
[roles.all]
verbs = ["*", "policy.reload", "shutdown"]

[roles.all.start]
users = ["*", 0]
groups = ["*", 0]
programs = ["/**", "PATH"]
directories = ["/", "/**"]
environment = { allow = ["*", "PYTHON*"] }

[[bind]]
role = "all"
to = ["anyone"]

[tokens]
acme = "sha256:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"
"""


@dataclass(frozen=True)
class TlsDaemon:
    """A daemon in a process of its own.

    :ivar port: where it listens by TLS.
    """

    daemon: RunningDaemon
    port: int
    certificate: str

    @property
    def endpoint(self) -> str:
        return f"tls:localhost:{self.port}"


def free_port() -> int:
    """One that nobody listens on at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


@contextmanager
def tls_daemon(
    directory: Path, keys: Keys, *options: str, inside: Sequence[str] = (), hosts: Sequence[str] = ()
) -> Iterator[TlsDaemon]:
    """A daemon with its socket in *directory*, whose mode must be 0700, and a port for "localhost"."""
    policy = directory / "policy.toml"
    policy.write_text(POLICY)
    policy.chmod(0o600)
    certificate = keys.issue("daemon", "localhost", "127.0.0.1", *hosts)
    port = free_port()
    files = f"certificate={certificate}:key={certificate}:authority={keys.authority}"
    listen = f"--listen=tls:{port}:interface=0.0.0.0:{files}"
    with running_daemon(directory, listen, f"--policy={policy}", *options, inside=inside) as one:
        yield TlsDaemon(one, port, certificate)


class TcpProxy(Proxy):
    """The same between TCP sockets of this machine: TLS is cut in the middle of anything."""

    def __init__(self, target: int, limits: Iterable[tuple[int, int]]) -> None:
        self.port = free_port()
        self._port = target
        super().__init__("", "", limits)

    def listen(self) -> None:
        self._listener = listener = socket.create_server(("127.0.0.1", self.port))
        self._run(self._accept, listener)

    def die(self) -> None:
        assert self._listener is not None
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._listener = None
        self.cut()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self._port))


# Makes a proxy to a port, with the limits of its connections; it is closed at the end of the test.
Cutting = Callable[[int, Iterable[tuple[int, int]]], TcpProxy]


class Everybody:
    """A policy that lets in whoever is known, and lets them do everything.

    :ivar seen: who has asked to be let in.
    """

    takes_tokens = True

    def __init__(self) -> None:
        self.seen: list[Principal] = []

    def admit(self, principal: Principal) -> Decision:
        self.seen.append(principal)
        return Decision(principal.known, "known, or not")

    def token(self, shown: bytes) -> str | None:
        return "acme" if shown == b"secret" else None

    def judge(self, principal: Principal, verb: Verb, subject: Subject | None, signal: int | None = None) -> Decision:
        return Decision(True, "everybody may")

    def judge_start(self, principal: Principal, spec: Spec) -> Decision:
        return Decision(True, "everybody may")

    def sees(self, principal: Principal, subject: Subject) -> bool:
        return True

    def tenant(self, principal: Principal) -> str | None:
        return None

    def processes(self, principal: Principal) -> int | None:
        return None


class Running:
    """A daemon here, and where it listens."""

    def __init__(self, reactor: Any, said: Listen, **settings: Any) -> None:
        self.policy: Any = Everybody()
        self.port = TlsPort(said)
        self.said = said
        self.service = DaemonService(
            reactor,
            LocalLauncher(reactor),
            Settings(grace=1, **settings),
            ports=[self.port],
            policy=lambda: self.policy,
        )
        self.service.startService()

    @property
    def number(self) -> int:
        return int(self.port.address.rpartition(":")[2])

    @property
    def endpoint(self) -> str:
        return f"tls:localhost:{self.number}"


@asynccontextmanager
async def running(
    reactor: Any, keys: Keys, *, host: str = "127.0.0.1", settings: dict[str, Any] | None = None, **other: Any
) -> AsyncIterator[Running]:
    """A daemon for "localhost" and 127.0.0.1; *other* is for `Listen`."""
    certificate = other.pop("certificate", None) or keys.issue("daemon", "localhost", "127.0.0.1", "::1")
    said = Listen(
        interface=host,
        port=0,
        certificate=certificate,
        key=certificate,
        authority=other.pop("authority", keys.authority),
        **other,
    )
    one = Running(reactor, said, **(settings or {}))
    try:
        yield one
    finally:
        stopping: Deferred[None] = one.service.stopService()
        await stopping
