"""On whose behalf a connection speaks: what the kernel, TLS or a token tells of it, never what it says itself."""

from __future__ import annotations

from dataclasses import dataclass

# What the kernel gives for a user or process that has no name on this side of a namespace.
UNKNOWN_UID = 65534
UNKNOWN_PID = 0

# Characters of a key's pin by which it is told in words; the whole of it is in the policy.
PIN_TOLD = 16


@dataclass(frozen=True, kw_only=True)
class Principal:
    """Who somebody is; fixed for a connection's life.

    :param uid: the user at the other end of a UNIX socket, and *gid* and *groups*, the supplementary ones; None: there
        is none that the kernel knows here.
    :param pin: of a TLS client's key: ``sha256:`` and the digest of its SubjectPublicKeyInfo in hexadecimal.
    :param names: what that client's certificate says that it is, as ``dns:panel.example.org``, ``uri:...``,
        ``email:...`` or ``ip:...``.
    :param token: the name of the token that it showed.
    """

    uid: int | None = None
    gid: int | None = None
    groups: frozenset[int] = frozenset()
    pin: str | None = None
    names: tuple[str, ...] = ()
    token: str | None = None

    def __str__(self) -> str:
        """As events, records and the audit tell it: a process's owner, which has to be the same for the same."""
        if self.token is not None:
            return f"token:{self.token}"
        if self.pin is not None:
            return f"tls:{self.names[0]}" if self.names else f"tls:{self.pin[: len('sha256:') + PIN_TOLD]}"
        return f"uid:{self.uid}"

    @property
    def known(self) -> bool:
        """Whether anything at all is known of it."""
        return self.uid is not None or self.pin is not None or self.token is not None
