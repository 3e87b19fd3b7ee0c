"""Who is let in by TLS, as whom, and what all others are told; over real sockets."""

from __future__ import annotations

import datetime
import socket
import ssl
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import ExtendedKeyUsageOID
from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from netdaemon import BadRequest, ConnectFailed, ConnectionClosed, Credentials, Denied, TimedOut, Untrusted, connect
from netdaemon.policy.principals import Principal
from tests.tls.support import Keys, pin, running

core: Any = reactor


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "keys")


async def refused(endpoint: str, credentials: Credentials) -> str:
    """What a client is told that is not let in."""
    with pytest.raises(Untrusted) as told:
        await connect(core, endpoint, credentials=credentials)
    return str(told.value)


async def test_who_is_signed_is_let_in(keys: Keys) -> None:
    """The principal has the pin and the names of the certificate; the daemon's welcome says so."""
    credentials = keys.credentials("panel", "panel.example.org", "admin@example.org", "127.0.0.9")
    async with running(core, keys) as daemon:
        client = await connect(core, daemon.endpoint, credentials=credentials)
        process = await client.start(["/bin/true"])
        assert (await client.inspect(process.id)).owner == "tls:dns:panel.example.org"
        await client.close()
        names = ("dns:panel.example.org", "email:admin@example.org", "ip:127.0.0.9")
        assert daemon.policy.seen[-1] == Principal(pin=pin(str(credentials.certificate)), names=names)


async def test_who_is_signed_by_another_is_told_so(keys: Keys, tmp_path: Path) -> None:
    stranger = Keys(tmp_path / "other")
    credentials = Credentials(certificate=stranger.issue("panel", "panel.example.org"), authority=keys.authority)
    async with running(core, keys) as daemon:
        told = await refused(daemon.endpoint, credentials)
        assert told == (
            f"localhost:{daemon.number}: the daemon refused the certificate: "
            "it is not signed by an authority that the daemon trusts"
        )
        assert daemon.policy.seen == []


async def test_who_is_out_of_time_is_told_so(keys: Keys) -> None:
    async with running(core, keys) as daemon:
        told = await refused(daemon.endpoint, keys.credentials("late", "panel.example.org", expired=True))
        assert told.endswith("the daemon refused the certificate: it has expired")


def issued(keys: Keys, name: str, *, server: bool) -> str:
    """A certificate for one side of a connection only."""
    key = ec.generate_private_key(ec.SECP256R1())
    usage = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
    authority = x509.load_pem_x509_certificate(keys.ca.cert_pem.bytes())
    signing: Any = serialization.load_pem_private_key(keys.ca.private_key_pem.bytes(), None)
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .sign(signing, hashes.SHA256())
    )
    path = keys.directory / f"{name}.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    path.chmod(0o600)
    return str(path)


async def test_who_is_for_a_daemon_only_is_told_so(keys: Keys) -> None:
    """A certificate says what it may be used for."""
    certificate = issued(keys, "other", server=True)
    async with running(core, keys) as daemon:
        told = await refused(daemon.endpoint, Credentials(certificate=certificate, authority=keys.authority))
        assert told.endswith("the daemon refused the certificate: it is not one for a client")


async def test_pins_besides_the_authority(keys: Keys, tmp_path: Path) -> None:
    """Of those that are signed only the pinned ones come in, and the others are told by what pin to ask."""
    one, two = keys.credentials("one", "one.example.org"), keys.credentials("two", "two.example.org")
    pins = tmp_path / "pins"
    pins.write_text(f"# who may\n\n{pin(str(one.certificate)).upper()}  # panel\n".replace("SHA256", "sha256"))
    async with running(core, keys, pins=str(pins)) as daemon:
        client = await connect(core, daemon.endpoint, credentials=one)
        await client.close()
        assert daemon.policy.seen[-1].names == ("dns:one.example.org",)
        with pytest.raises(Denied) as told:
            await connect(core, daemon.endpoint, credentials=two)
        assert str(told.value) == (
            f"the key {pin(str(two.certificate))} is not among those that may connect; "
            "ask for it to be added to the daemon's pins"
        )


async def test_a_pin_that_is_taken_out_ends_its_connections(keys: Keys, tmp_path: Path) -> None:
    """When the files are read again; whose pin has stayed goes on, although the policy is wrong at that time."""
    one, two = keys.credentials("one", "one.example.org"), keys.credentials("two", "two.example.org")
    pins = tmp_path / "pins"
    pins.write_text(f"{pin(str(one.certificate))}\n{pin(str(two.certificate))}\n")
    async with running(core, keys, pins=str(pins)) as daemon:
        stays = await connect(core, daemon.endpoint, credentials=one, reconnect=False)
        goes = await connect(core, daemon.endpoint, credentials=two, reconnect=False)
        pins.write_text(pin(str(one.certificate)))

        def wrong() -> Any:
            raise PermissionError(1, "no")

        daemon.service._read_policy = wrong
        with pytest.raises(BadRequest, match="the policy stays as it was"):
            daemon.service.reload()
        with pytest.raises(ConnectionClosed, match="is not among those that may connect"):
            await goes.info()
        assert (await stays.info()).counts.clients == 1
        await stays.close()


async def test_pins_alone(keys: Keys, tmp_path: Path) -> None:
    """Whoever has a pinned key comes in, whoever has signed it; its names are what it says itself, and do not count."""
    stranger = Keys(tmp_path / "other")
    certificate = stranger.issue("panel", "root.example.org")
    pins = tmp_path / "pins"
    pins.write_text(pin(certificate))
    credentials = Credentials(certificate=certificate, authority=keys.authority)
    async with running(core, keys, authority=None, pins=str(pins)) as daemon:
        client = await connect(core, daemon.endpoint, credentials=credentials)
        await client.close()
        assert daemon.policy.seen[-1] == Principal(pin=pin(certificate))
        late = stranger.credentials("late", "panel.example.org", expired=True, authority=keys.authority)
        assert (await refused(daemon.endpoint, late)).endswith("the daemon refused the certificate: it has expired")
        with pytest.raises(Denied, match="is not among those that may connect"):
            await connect(core, daemon.endpoint, credentials=keys.credentials("other", "panel.example.org"))


async def test_the_daemon_is_another(keys: Keys, tmp_path: Path) -> None:
    """A client does not talk to a daemon of another authority, of another host, out of time, or with another key."""
    mine = keys.credentials("panel", "panel.example.org")
    stranger = Keys(tmp_path / "other")
    async with running(core, keys, certificate=stranger.issue("daemon", "localhost")) as daemon:
        told = await refused(daemon.endpoint, mine)
        assert told == f"localhost:{daemon.number}: the daemon's certificate is not signed by {keys.authority}"
    async with running(core, keys, certificate=keys.issue("late", "localhost", expired=True)) as daemon:
        told = await refused(daemon.endpoint, mine)
        assert told == f"localhost:{daemon.number}: the daemon's certificate has expired"
        pinned = keys.credentials("panel", "panel.example.org", pin=pin(daemon.said.certificate))
        assert (await refused(daemon.endpoint, pinned)).endswith("the daemon's certificate has expired")
    async with running(core, keys, certificate=keys.issue("far", "far.example.org", "192.0.2.7")) as daemon:
        told = await refused(daemon.endpoint, mine)
        names = "dns:far.example.org, ip:192.0.2.7"
        assert told == f"localhost:{daemon.number}: the daemon's certificate is not for localhost; it is for {names}"
        told = await refused(f"tls:127.0.0.1:{daemon.number}", mine)
        assert told.endswith(f"the daemon's certificate is not for 127.0.0.1; it is for {names}")
        seen, expected = pin(daemon.said.certificate), pin(str(mine.certificate))
        told = await refused(daemon.endpoint, keys.credentials("panel", "panel.example.org", pin=expected))
        assert told == f"localhost:{daemon.number}: the daemon's pin is {seen}, expected {expected}"
        # By its pin it is known, whatever it is called.
        client = await connect(core, daemon.endpoint, credentials=keys.credentials("panel", "p.example.org", pin=seen))
        await client.close()


async def test_by_address(keys: Keys) -> None:
    """Of IPv4 and of IPv6, which stand in the certificate."""
    mine = keys.credentials("panel", "panel.example.org")
    async with running(core, keys) as daemon:
        client = await connect(core, f"tls:127.0.0.1:{daemon.number}", credentials=mine)
        await client.close()
    try:
        async with running(core, keys, host="::1") as daemon:
            client = await connect(core, f"tls:[::1]:{daemon.number}", credentials=mine)
            await client.close()
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")


async def test_a_token_besides(keys: Keys) -> None:
    async with running(core, keys) as daemon:
        mine = keys.credentials("panel", "panel.example.org")
        client = await connect(core, daemon.endpoint, credentials=mine, token="secret")
        await client.close()
        assert daemon.policy.seen[-1].token == "acme"
        with pytest.raises(Denied, match="not known"):
            await connect(core, daemon.endpoint, credentials=mine, token=b"guess")


async def test_files_that_are_of_no_use(keys: Keys, tmp_path: Path) -> None:
    """Each is told by its path before anything is connected."""
    mine = keys.issue("panel", "panel.example.org")
    other = keys.issue("other", "other.example.org")
    loose = tmp_path / "loose.pem"
    loose.write_bytes(Path(mine).read_bytes())
    loose.chmod(0o640)
    empty = tmp_path / "empty.pem"
    empty.touch(mode=0o600)
    missing = str(tmp_path / "missing.pem")
    for said, why in (
        ({"certificate": missing}, f"certificate {missing}: No such file or directory"),
        ({"key": missing}, f"key {missing}: No such file or directory"),
        ({"key": other}, f"key {other} is not the key of certificate {mine}"),
        (
            {"key": str(loose)},
            f"key {loose}: its mode is 0640, and others must not be able to read it: chmod 600 {loose}",
        ),
        ({"key": str(empty)}, f"key {empty} has no private key; it has to be a file in PEM"),
        ({"authority": missing}, f"authority {missing}: No such file or directory"),
        ({"certificate": str(empty), "key": mine}, f"certificate {empty}: "),
        ({"authority": str(empty)}, f"authority {empty}: "),
    ):
        credentials = Credentials(**{"certificate": mine, "authority": keys.authority, **said})
        assert (await refused("tls:localhost:1", credentials)).startswith(f"localhost:1: {why}")


async def test_nobody_listens(keys: Keys) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        free = taken.getsockname()[1]
    with pytest.raises(ConnectFailed) as told:
        await connect(core, f"tls:127.0.0.1:{free}", credentials=keys.credentials("panel", "panel.example.org"))
    assert str(told.value) == f"127.0.0.1:{free}: nobody listens there; is the daemon running, with --listen?"
    assert not isinstance(told.value, Untrusted)


class Answering(Protocol):
    """Says something that is no TLS, or nothing."""

    words = b""

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        if self.words:
            self.transport.write(self.words)


async def test_somebody_else_listens(keys: Keys) -> None:
    """What speaks no TLS is told; what says nothing is not waited for without end."""
    mine = keys.credentials("panel", "panel.example.org")
    factory = Factory.forProtocol(Answering)
    factory.noisy = False
    listening = await TCP4ServerEndpoint(core, 0, interface="127.0.0.1").listen(factory)
    try:
        endpoint = f"tls:127.0.0.1:{listening.getHost().port}"
        with pytest.raises(TimedOut, match=r"did not answer HELLO within 0.2 seconds"):
            await connect(core, endpoint, credentials=mine, timeout=0.2)
        Answering.words = b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"
        assert (await refused(endpoint, mine)).endswith("what answers there does not speak TLS")
    finally:
        Answering.words = b""
        await listening.stopListening()
        await deferLater(core, 0.01)


# --- clients that are none of ours -----------------------------------------------------------------------------------


def hand(keys: Keys, certificate: str | None, *, old: bool = False) -> ssl.SSLContext:
    """What an ordinary program of another make would use."""
    context = ssl.create_default_context(cafile=keys.authority)
    if certificate is not None:
        context.load_cert_chain(certificate)
    if old:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


def read_to_the_end(context: ssl.SSLContext, port: int) -> bytes | str:
    """What such a program reads, or how that fails."""
    try:
        with (
            socket.create_connection(("127.0.0.1", port), 20) as sock,
            context.wrap_socket(sock, server_hostname="localhost") as secured,
        ):
            return secured.recv(100)
    except ssl.SSLError as error:
        return error.reason or ""


async def test_others_are_refused(keys: Keys) -> None:
    """No certificate, TLS 1.2, and no TLS at all; the daemon goes on."""
    mine = keys.credentials("panel", "panel.example.org")
    async with running(core, keys) as daemon:
        told = await deferToThread(read_to_the_end, hand(keys, None), daemon.number)
        assert "CERTIFICATE_REQUIRED" in str(told)
        told = await deferToThread(read_to_the_end, hand(keys, str(mine.certificate), old=True), daemon.number)
        assert "PROTOCOL_VERSION" in str(told)

        def plain() -> bytes:
            with socket.create_connection(("127.0.0.1", daemon.number), 20) as sock:
                sock.sendall(b"\0\0\0\x08\0\0\0\1\0\1\0\2")
                octets = b""
                while more := sock.recv(100):
                    octets += more
                return octets

        # An alert at most, and the end at once.
        assert len(await deferToThread(plain)) <= 7
        assert daemon.policy.seen == []
        client = await connect(core, daemon.endpoint, credentials=mine)
        await client.close()


async def test_who_stalls_is_cut_off(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the handshake, and between that and HELLO; each after the time for HELLO."""
    monkeypatch.setattr("netdaemon.daemon.peer.HELLO_TIMEOUT", 0.3)
    mine = keys.credentials("panel", "panel.example.org")
    async with running(core, keys) as daemon:

        def stall() -> bytes:
            with socket.create_connection(("127.0.0.1", daemon.number), 20) as sock:
                # The beginning of a record that says that a handshake of 512 bytes follows.
                sock.sendall(b"\x16\x03\x01\x02\0\1")
                try:
                    return sock.recv(100)
                except ConnectionResetError:
                    return b""

        began = time.monotonic()
        assert await deferToThread(stall) == b""
        told = await deferToThread(read_to_the_end, hand(keys, str(mine.certificate)), daemon.number)
        assert b"HELLO was not finished within 0.3 seconds" in bytes(told)  # type: ignore[arg-type]
        assert time.monotonic() - began >= 0.6
        assert daemon.service.clients.all == set()
        client = await connect(core, daemon.endpoint, credentials=mine)
        await client.close()


async def test_the_oldest_handshake_makes_room(keys: Keys) -> None:
    """Any number of connections that never say who they are keep nobody out."""
    mine = keys.credentials("panel", "panel.example.org")
    async with running(core, keys, settings={"newcomers": 4}) as daemon:
        stalled = [socket.create_connection(("127.0.0.1", daemon.number), 20) for _ in range(12)]
        client = await connect(core, daemon.endpoint, credentials=mine)
        await client.close()
        assert len(daemon.service.clients.all) <= 5
        for one in stalled:
            one.close()


async def test_no_session_is_resumed(keys: Keys) -> None:
    """Nobody comes in by having been in before: every connection shows its certificate."""
    mine = keys.credentials("panel", "panel.example.org")
    context = hand(keys, str(mine.certificate))
    async with running(core, keys) as daemon:

        def connected(session: ssl.SSLSession | None) -> tuple[ssl.SSLSession | None, bool]:
            with (
                socket.create_connection(("127.0.0.1", daemon.number), 20) as sock,
                context.wrap_socket(sock, server_hostname="localhost", session=session) as secured,
            ):
                secured.settimeout(0.1)
                try:
                    secured.recv(100)
                except TimeoutError:
                    pass
                return secured.session, bool(secured.session_reused)

        session, _ = await deferToThread(connected, None)
        for _ in range(3):
            session, reused = await deferToThread(connected, session)
            assert not reused
