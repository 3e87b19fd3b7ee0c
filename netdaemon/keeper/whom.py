"""As whom a child runs, where, within what bounds: plain values, and their form in a message; does nothing of it."""

from __future__ import annotations

from netdaemon.keeper.messages import Torn, pack, unpack


class Whom:
    """What a child takes on before it executes anything. None: as this program has it. Not to be changed.

    :param uid: its user; *gid* is its group then, and *groups* are all the supplementary ones that it has.
    :param umask: None: the usual one of children.
    :param root: a directory that is / to it, reached through no symbolic link.
    :param rlimits: number, soft and hard limit of each, as `resource.setrlimit` takes them.
    :param no_new_privs: whether nothing that it executes can have more privileges than it has.
    :param capabilities: a bit for each that it has, and that anything it executes can have at most.
    """

    __slots__ = (
        "capabilities",
        "gid",
        "groups",
        "nice",
        "no_new_privs",
        "oom_score_adj",
        "rlimits",
        "root",
        "uid",
        "umask",
    )

    def __init__(
        self,
        *,
        uid: int | None = None,
        gid: int = 0,
        groups: tuple[int, ...] = (),
        umask: int | None = None,
        root: bytes | None = None,
        rlimits: tuple[tuple[int, int, int], ...] = (),
        nice: int | None = None,
        oom_score_adj: int | None = None,
        no_new_privs: bool = False,
        capabilities: int | None = None,
    ) -> None:
        self.uid = uid
        self.gid = gid
        self.groups = groups
        self.umask = umask
        self.root = root
        self.rlimits = rlimits
        self.nice = nice
        self.oom_score_adj = oom_score_adj
        self.no_new_privs = no_new_privs
        self.capabilities = capabilities

    def pack(self) -> bytes:
        """As one field of a message."""
        account = () if self.uid is None else (self.uid, self.gid, *self.groups)
        limits = [number for one in self.rlimits for number in one]
        numbers = (self.umask, self.nice, self.oom_score_adj, self.capabilities, self.no_new_privs or None)
        return pack(
            (
                _row(account),
                _row(limits),
                self.root or b"",
                *(b"" if one is None else b"%d" % one for one in numbers),
            )
        )

    @classmethod
    def unpack(cls, octets: bytes) -> Whom:
        """The other way round.

        :raises ValueError: it is no such field.
        """
        try:
            account, limits, root, *rest = unpack(octets)
        except Torn as error:
            raise ValueError(f"whom: {error}") from error
        ids = [int(one) for one in account.split()]
        flat = [int(one) for one in limits.split()]
        umask, nice, oom_score_adj, capabilities, no_new_privs = [int(one) if one else None for one in rest]
        return cls(
            uid=ids[0] if ids else None,
            gid=ids[1] if ids else 0,
            groups=tuple(ids[2:]),
            umask=umask,
            root=root or None,
            rlimits=tuple(zip(flat[::3], flat[1::3], flat[2::3], strict=True)),
            nice=nice,
            oom_score_adj=oom_score_adj,
            no_new_privs=bool(no_new_privs),
            capabilities=capabilities,
        )


def _row(numbers: tuple[int, ...] | list[int]) -> bytes:
    return b" ".join(b"%d" % one for one in numbers)
