"""A private authority, certificates of it and of others, and a daemon with a TLS port in the reactor of the test."""

from __future__ import annotations

import datetime
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
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
async def running(reactor: Any, keys: Keys, *, host: str = "127.0.0.1", **other: Any) -> AsyncIterator[Running]:
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
    one = Running(reactor, said)
    try:
        yield one
    finally:
        stopping: Deferred[None] = one.service.stopService()
        await stopping


def mode(path: str) -> int:
    """The permissions of a file."""
    return os.stat(path).st_mode & 0o777
