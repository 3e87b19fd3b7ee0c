"""What a policy says that is allowed and probably not meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.policy.support import reading

ROLE = '[roles.r]\nverbs = ["*", "shutdown"]\n[roles.r.start]\nusers = ["self"]\nprograms = ["/bin/cat"]\n'
BIND = '[[bind]]\nrole = "r"\nto = ["uid:1"]\n'
TOKEN = f'[tokens]\nt = "sha256:{"0" * 64}"\n'

DOUBTS = [
    (ROLE, "roles.r", 1, "nobody is bound to this role"),
    (ROLE.replace('"self"', "0") + BIND, "roles.r.start.users", 4, "whoever may start something as root is root"),
    (ROLE.replace('"self"', '"root"') + BIND, "roles.r.start.users", 4, "0 is among them"),
    (ROLE + "groups = [0]\n" + BIND, "roles.r.start.groups", 6, "the group of root"),
    (ROLE + 'capabilities = ["net_raw", "setuid"]\n' + BIND, "roles.r.start.capabilities", 6, "with setuid a program"),
    (ROLE + "chroot_required = true\n" + BIND, "roles.r.start.chroot_required", 6, "nothing can be started"),
    (ROLE + "sandbox = {required = true}\n" + BIND, "roles.r.start.sandbox", 6, "nothing can be started"),
    (ROLE + "processes = 0\n" + BIND, "roles.r.start.processes", 6, "nothing can be started"),
    (ROLE + BIND.replace("uid:1", "anyone"), "bind[0].to", 8, "anyone who can connect may start programs"),
    (ROLE + BIND.replace("uid:1", "uid:0-9"), "bind[0].to", 8, "a range of it has 0 in it"),
    (ROLE + BIND + 'tenant = "acme"\n', "bind[0]", 6, 'say names, as ["acme-*"]'),
    (ROLE + BIND + 'names = ["a"]\n', "bind[0]", 6, "the role has shutdown, which is not given"),
    (ROLE + BIND + "[[deny]]\n", "deny[0]", 9, "it denies everything to everybody"),
    (ROLE + BIND + '[[deny]]\nnot_to = ["anyone"]\n', "deny[0].not_to", 10, "it denies nothing"),
    (ROLE + BIND + '[[deny]]\ntenant = "emca"\n', "deny[0].tenant", 10, "nobody is bound to the tenant emca"),
    (
        ROLE + (BIND + 'tenant = "a"\nnames = ["a"]\n') + (BIND + 'tenant = "b"\nnames = ["b"]\n'),
        "bind[1].tenant",
        14,
        "uid:1 starts things for the tenant a by bind[0], and so for no other",
    ),
    (ROLE + BIND + TOKEN, "tokens.t", 10, "nothing is bound to this token"),
]


@pytest.mark.parametrize(("text", "place", "line", "message"), DOUBTS)
def test_a_doubt(tmp_path: Path, text: str, place: str, line: int, message: str) -> None:
    found = [(one.place, one.line) for one in reading(tmp_path, text).doubts if message in one.message]
    assert found == [(place, line)]


def test_nothing_is_doubtful(tmp_path: Path) -> None:
    assert reading(tmp_path, ROLE + BIND).doubts == ()
    deny = '[[deny]]\nnot_to = ["uid:0"]\n[[deny]]\nto = ["uid:3"]\n'
    assert reading(tmp_path, ROLE + BIND + deny).doubts == ()
