"""A file of policy: what it comes to, and every fault of a bad one with its place and line."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path

import pytest

from netdaemon.policy.keys import TERMS
from netdaemon.policy.matching import Whom
from netdaemon.policy.principals import Principal
from netdaemon.policy.reading import PolicyFaults, read
from netdaemon.policy.verbs import OF_THE_DAEMON, Verb
from tests.policy.support import faults_of, reading

PIN = "sha256:" + "AB" * 32
ROOTS = grp.getgrgid(0).gr_name

GOOD = f"""
[roles.r]
verbs = ["attach.*", "signal", "start"]
signals = ["TERM", "SIGINT", 9]
[roles.r.start]
users = ["root", 1000, "1001-1002", "1003", "*", "self"]
programs = ["/bin/*", "PATH"]
limits = {{ nofile = "4k", core = "unlimited", required = true }}
cgroup = {{ "memory.max" = "1G", "cpu.max" = "50000/100000", "pids.max" = "max", "cpu.weight" = 5 }}
processes = 7
[roles.all]
verbs = ["*"]
start = {{ users = [], programs = [] }}
[[bind]]
role = "r"
to = ["uid:1", "uid:5-9", "user:root", "gid:2", "group:{ROOTS}", "tls:{PIN}", "san:dns:A.b", "token:t"]
tenant = "acme"
owner = "self"
labels = ["a=*"]
names = ["x-*"]
[[deny]]
[[deny]]
not_to = ["anyone"]
verbs = ["*"]
[[deny]]
[deny.start]
users = ["*"]
[tokens]
t = "sha256:{"0" * 63}F"
"""


def test_a_good_one(tmp_path: Path) -> None:
    rules = reading(tmp_path, GOOD).rules
    role = rules.roles["r"]
    assert role.verbs == {Verb.ATTACH_READ, Verb.ATTACH_WRITE, Verb.ATTACH_HOLD, Verb.SIGNAL, Verb.START}
    assert role.signals == {15, 2, 9}
    start = role.start
    assert start is not None
    assert (start.users.numbers, start.users.ranges) == ({0, 1000, 1003}, ((1001, 1002),))
    assert start.users.everything
    assert start.users.own
    assert (start.programs.bare, [glob.pattern for glob in start.programs.paths.globs]) == (True, ["/bin/*"])
    assert (start.limits.most, start.limits.required) == ({"nofile": 4096, "core": float("inf")}, True)
    assert start.cgroup.most == {
        "memory.max": 1 << 30,
        "cpu.max": 0.5,
        "pids.max": float("inf"),
        "cpu.weight": 5,
    }
    assert start.processes == 7
    assert rules.roles["all"].verbs == set(Verb) - OF_THE_DAEMON
    (bound,) = rules.bindings
    assert (bound.scope.tenant, bound.scope.own) == ("acme", True)
    assert ([one.pattern for one in bound.scope.labels], [one.pattern for one in bound.scope.names]) == (
        ["a=*"],
        ["x-*"],
    )
    to = bound.to
    assert (to.uids.numbers, to.uids.ranges, to.gids.numbers) == ({1, 0}, ((5, 9),), {2, 0})
    assert (to.pins, to.names, to.tokens, to.anyone) == ({PIN.lower()}, {"dns:a.b"}, {"t"}, False)
    total, none, start_only = rules.denials
    assert total.total
    # What is denied by a star is everything.
    assert none.verbs == set(Verb)
    assert isinstance(none.but, Whom)
    assert start_only.start is not None
    assert not start_only.total
    assert rules.tokens == {"t": bytes(31) + b"\x0f"}


def test_nothing_is_a_policy_too(tmp_path: Path) -> None:
    found = reading(tmp_path, "# nobody may do anything\n")
    assert (found.rules.bindings, found.doubts) == ((), ())


ROLE = '[roles.r]\nverbs = ["start"]\n'
START = ROLE + "[roles.r.start]\nusers = []\nprograms = []\n"
BIND = '[roles.r]\nverbs = ["list"]\n[[bind]]\nrole = "r"\nto = ["anyone"]\n'

FAULTS: list[tuple[str, str, int | None, str]] = [
    # --- the file ---
    ("[roles", "", 1, "Expected ']'"),
    ("x = 1", "x", 1, "there is no such key; there are roles, bind, deny, tokens"),
    ("role = {}", "role", 1, 'did you mean "roles"?'),
    ("roles = 1", "roles", 1, "wanted is a table of tables"),
    ("bind = {}", "bind", 1, "wanted is an array of tables, each [[bind]]"),
    ("[bind]", "bind", 1, "wanted is an array of tables"),
    ("deny = [1]", "deny[0]", 1, "wanted is a table"),
    # --- roles ---
    ("[roles.r]", "roles.r", 1, "it says no verbs"),
    ('[roles."a b"]\nverbs = ["list"]', 'roles."a b"', 1, "a name is 1 to 64 of the characters"),
    ("[roles.r]\nverbs = []", "roles.r.verbs", 2, "it is empty"),
    ('[roles.r]\nverbs = ["lst"]', "roles.r.verbs[0]", 2, 'did you mean "list"?'),
    ('[roles.r]\nverbs = [\n"list",\n"policy.*"]', "roles.r.verbs[1]", 2, 'it is "policy.*"'),
    ('[roles.r]\nverbs = ["LIST"]', "roles.r.verbs[0]", 2, 'it is "LIST"'),
    ("[roles.r]\nverbs = [1]", "roles.r.verbs[0]", 2, "it is an integer, 1; wanted is a string"),
    ('[roles.r]\nverbs = ["list"]\nsignals = ["TREM"]', "roles.r.signals[0]", 3, "is no signal"),
    ('[roles.r]\nverbs = ["list"]\nsignals = [65]', "roles.r.signals[0]", 3, "65 is no signal"),
    (ROLE, "roles.r", 1, "it has the verb start, and no table start"),
    ('[roles.r]\nverbs = ["*"]', "roles.r", 1, "it has the verb start, and no table start"),
    (START.replace('"start"', '"list"'), "roles.r.start", 3, "the role has no verb start"),
    (ROLE + "[roles.r.start]\nprograms = []", "roles.r.start", 3, "it says no users"),
    (ROLE + "[roles.r.start]\nusers = []", "roles.r.start", 3, "it says no programs"),
    (START + "user = []", "roles.r.start.user", 6, 'did you mean "users"?'),
    # --- users and groups ---
    (START.replace("users = []", 'users = "self"'), "roles.r.start.users", 4, "wanted is an array"),
    (START.replace("users = []", "users = [true]"), "roles.r.start.users[0]", 4, "it is a boolean, true"),
    (START.replace("users = []", "users = [1.5]"), "roles.r.start.users[0]", 4, "it is a float, 1.5"),
    (START.replace("users = []", "users = [-1]"), "roles.r.start.users[0]", 4, "0 to 4294967294 are allowed"),
    (START.replace("users = []", "users = [4294967295]"), "roles.r.start.users[0]", 4, "0 to 4294967294"),
    (START.replace("users = []", 'users = ["0-9"]'), "roles.r.start.users[0]", 4, "a range does not cover 0"),
    (START.replace("users = []", 'users = ["9-5"]'), "roles.r.start.users[0]", 4, "a range goes up"),
    (START.replace("users = []", 'users = ["no-such-user"]'), "roles.r.start.users[0]", 4, "there is no user"),
    (START + 'groups = ["no-such-group"]', "roles.r.start.groups[0]", 6, "there is no group"),
    # --- patterns and paths ---
    (START.replace("programs = []", 'programs = ["cat"]'), "roles.r.start.programs[0]", 5, "a path begins with /"),
    (START.replace("programs = []", 'programs = ["/a/../b"]'), "roles.r.start.programs[0]", 5, "no ., .. or //"),
    (START.replace("programs = []", 'programs = ["/a**"]'), "roles.r.start.programs[0]", 5, "in place of a whole"),
    (START.replace("programs = []", 'programs = ["/[ab]"]'), "roles.r.start.programs[0]", 5, "three patterns"),
    (START.replace("programs = []", 'programs = [""]'), "roles.r.start.programs[0]", 5, "it has 0 characters"),
    (START + 'directories = ["/a/"]', "roles.r.start.directories[0]", 6, "a path begins with /"),
    (START + "chroots = [7]", "roles.r.start.chroots[0]", 6, "it is an integer, 7"),
    (START + 'logs = ["a.log"]', "roles.r.start.logs[0]", 6, "a path begins with /"),
    # --- the other bounds ---
    (START + 'chroot_required = "yes"', "roles.r.start.chroot_required", 6, "wanted is true or false"),
    (START + 'environment = ["*"]', "roles.r.start.environment", 6, "wanted is a table"),
    (START + 'environment = {allowed = ["*"]}', "roles.r.start.environment.allowed", 6, 'did you mean "allow"?'),
    (START + 'capabilities = ["net_rw"]', "roles.r.start.capabilities[0]", 6, 'did you mean "net_raw"?'),
    (START + "no_new_privs = 1", "roles.r.start.no_new_privs", 6, "wanted is true or false"),
    (START + "umask = 512", "roles.r.start.umask", 6, "0 to 511 are allowed"),
    (START + "nice = 20", "roles.r.start.nice", 6, "-20 to 19 are allowed"),
    (START + "oom_score_adj = -1001", "roles.r.start.oom_score_adj", 6, "-1000 to 1000 are allowed"),
    (START + "limits = {nofiles = 1}", "roles.r.start.limits.nofiles", 6, 'did you mean "nofile"?'),
    (START + "limits = {nofile = -1}", "roles.r.start.limits.nofile", 6, "are allowed"),
    (START + 'limits = {nofile = "max"}', "roles.r.start.limits.nofile", 6, "a size is a whole number"),
    (START + "limits = {required = 1}", "roles.r.start.limits.required", 6, "wanted is true or false"),
    (START + 'cgroup = {"memory.min" = 1}', 'roles.r.start.cgroup."memory.min"', 6, "there is no such key"),
    (START + 'cgroup = {"cpu.max" = "1/2"}', 'roles.r.start.cgroup."cpu.max"', 6, "microseconds of a period"),
    (START + 'cgroup = {"cpu.weight" = 0}', 'roles.r.start.cgroup."cpu.weight"', 6, "1 to 10000 are allowed"),
    (START + "cgroup = {memory.max = 1}", "roles.r.start.cgroup.memory", 6, "there is no such key"),
    (START + 'sandbox = {profiles = ["open"]}', "roles.r.start.sandbox.profiles[0]", 6, "there are private"),
    (START + "processes = -1", "roles.r.start.processes", 6, "0 to 1000000 are allowed"),
    # --- bindings ---
    ("[[bind]]", "bind[0]", 1, "it says no role"),
    ("[[bind]]", "bind[0]", 1, "it says no to"),
    (BIND.replace('role = "r"', 'role = "rr"'), "bind[0].role", 4, 'did you mean "r"?'),
    ('[[bind]]\nrole = "r"\nto = ["anyone"]', "bind[0].role", 2, "there is none at all"),
    (BIND.replace('["anyone"]', "[]"), "bind[0].to", 5, "it is empty"),
    (BIND.replace("anyone", "1000"), "bind[0].to[0]", 5, "there are uid, user, gid, group, tls, san, token, anyone"),
    (BIND.replace("anyone", "anyone:x"), "bind[0].to[0]", 5, "it is of the form anyone"),
    (BIND.replace("anyone", "uid"), "bind[0].to[0]", 5, "it is of the form uid:1000"),
    (BIND.replace("anyone", "uid:"), "bind[0].to[0]", 5, "it is of the form uid:1000"),
    (BIND.replace("anyone", "uid:root"), "bind[0].to[0]", 5, "a name is said by user: or group:"),
    (BIND.replace("anyone", "uid:65534"), "bind[0].to[0]", 5, "whom it does not know here"),
    (BIND.replace("anyone", "gid:5-1"), "bind[0].to[0]", 5, "a range goes up"),
    (BIND.replace("anyone", "user:no-such-user"), "bind[0].to[0]", 5, "there is no user"),
    (BIND.replace("anyone", "group:no-such-group"), "bind[0].to[0]", 5, "there is no group"),
    (BIND.replace("anyone", "tls:abc"), "bind[0].to[0]", 5, "of the form sha256:HEX"),
    (BIND.replace("anyone", "san:example.org"), "bind[0].to[0]", 5, "it is of the form san:dns:NAME"),
    (BIND.replace("anyone", "token:t"), "bind[0].to[0]", 5, "there is no token"),
    (BIND + "names = []", "bind[0].names", 6, "it is empty"),
    (BIND + "labels = []", "bind[0].labels", 6, "it is empty"),
    (BIND + 'labels = ["game"]', "bind[0].labels[0]", 6, "a label is of the form key=value"),
    (BIND + 'labels = ["*=x"]', "bind[0].labels[0]", 6, "only its value may have"),
    (BIND + 'owner = "uid:1"', "bind[0].owner", 6, "there are self"),
    (BIND + 'tenant = "a b"', "bind[0].tenant", 6, "a name is 1 to 64"),
    # --- denials ---
    ("[[deny]]\nto = []", "deny[0].to", 2, "it is empty"),
    ("[[deny]]\nwhy = 1", "deny[0].why", 2, "there is no such key"),
    ("[[deny]]\n[deny.start]", "deny[0].start", 2, "it forbids nothing"),
    ("[[deny]]\nstart = {users = []}", "deny[0].start", 2, "it forbids nothing"),
    ('[[deny]]\nstart = {groups = ["self"]}', "deny[0].start.groups[0]", 2, "cannot be forbidden"),
    ('[[deny]]\nverbs = ["start"]\nstart = {users = [1]}', "deny[0].verbs", 2, "nothing but starts"),
    ('[[deny]]\nverbs = ["shutdown"]\ntenant = "a"', "deny[0].verbs", 2, "shutdown is done to the daemon"),
    # --- tokens ---
    ('[tokens]\nt = "secret"', "tokens.t", 2, "of the form sha256:HEX"),
    (f'[tokens]\nt = "sha256:{"0" * 63}"', "tokens.t", 2, "64 hexadecimal digits"),
    (f'[tokens]\nt = "sha256:{"0" * 64}"\nu = "sha256:{"0" * 64}"', "tokens.u", 3, "it is the same token as t"),
    (f'[tokens]\n"a b" = "sha256:{"0" * 64}"', 'tokens."a b"', 2, "a name is 1 to 64"),
]


@pytest.mark.parametrize(("text", "place", "line", "message"), FAULTS)
def test_a_fault(tmp_path: Path, text: str, place: str, line: int | None, message: str) -> None:
    found = faults_of(tmp_path, text)
    assert [one.file for one in found] == [str(tmp_path / "policy.toml")] * len(found)
    about = [one for one in found if one.place == place]
    assert about, found
    assert any(message in one.message for one in about), about
    assert {one.line for one in about} == {line}


def test_every_kind_of_term_is_wrong_once() -> None:
    assert {kind for kind in TERMS if any(f'to = ["{kind}' in text for text, *_ in FAULTS)} == TERMS.keys()


def test_all_faults_at_once(tmp_path: Path) -> None:
    text = """
[roles.a]
verbs = ["lst", "list", "evnts"]
[roles.b]
verbs = ["start"]
start = { users = ["0-5", "no-such-user", -1], programs = ["cat", "/x"], nice = 99 }
[[bind]]
role = "c"
to = ["uid:x", "token:t"]
[[deny]]
labels = ["x"]
"""
    assert [(one.place, one.line) for one in faults_of(tmp_path, text)] == [
        ("roles.a.verbs[0]", 3),
        ("roles.a.verbs[2]", 3),
        ("roles.b.start.users[0]", 6),
        ("roles.b.start.users[1]", 6),
        ("roles.b.start.users[2]", 6),
        ("roles.b.start.programs[0]", 6),
        ("roles.b.start.nice", 6),
        ("bind[0].to[0]", 9),
        ("bind[0].to[1]", 9),
        ("deny[0].labels[0]", 11),
    ]


def test_a_fault_in_words(tmp_path: Path) -> None:
    (fault,) = faults_of(tmp_path, '[roles.r]\n  verbs = ["lst"]\n')
    assert str(fault) == f'{tmp_path}/policy.toml:2:3: roles.r.verbs[0]: it is "lst"; did you mean "list"?'


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(PolicyFaults, match=r"none\.toml: it cannot be read: No such file"):
        read(tmp_path / "none.toml")
    with pytest.raises(PolicyFaults, match="Is a directory"):
        read(tmp_path)


def test_no_utf8(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_bytes(b"# \xff")
    file.chmod(0o600)
    with pytest.raises(PolicyFaults, match=r"policy\.toml:1:3: the byte 0xff is not UTF-8"):
        read(file)


@pytest.mark.parametrize(("mode", "good"), [(0o600, True), (0o644, True), (0o664, False), (0o646, False)])
def test_nobody_else_writes_it(tmp_path: Path, mode: int, good: bool) -> None:
    file = tmp_path / "policy.toml"
    file.write_text("")
    file.chmod(mode)
    assert len(read(file, guarded=False).doubts) == (not good)
    if good:
        read(file)
        return
    with pytest.raises(PolicyFaults, match=f"its mode is {mode:04o}: others can write to it; chmod go-w"):
        read(file)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_nobody_else_owns_it(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text("")
    file.chmod(0o644)
    os.chown(file, pwd.getpwnam("nobody").pw_uid, -1)
    with pytest.raises(PolicyFaults, match="it belongs to uid 65534; a policy belongs to root"):
        read(file)
    (doubt,) = read(file, guarded=False).doubts
    assert "it belongs to uid" in doubt.message


def test_a_range_of_whom_has_root_in_it_where_it_says_so(tmp_path: Path) -> None:
    """It is about those who ask, and a denial of them has to be about all of them."""
    rules = reading(tmp_path, BIND.replace("anyone", "uid:0-9") + '[[deny]]\nto = ["gid:0-9"]\n').rules
    assert rules.bindings[0].to.has(Principal(uid=0))
    denied = rules.denials[0].to
    assert denied is not None
    assert denied.has(Principal(uid=1000, gid=0))
    assert not denied.has(Principal(uid=1000, gid=10))


def test_nobody_else_puts_another_in_its_place(tmp_path: Path) -> None:
    """A directory that all can write to has this one replaced, between looking at it and reading it, too."""
    folder = tmp_path / "folder"
    folder.mkdir()
    folder.chmod(0o777)
    file = folder / "policy.toml"
    file.write_text("")
    file.chmod(0o600)
    with pytest.raises(PolicyFaults, match=r"where everybody may write.*: others can put another in its place"):
        read(file)
    (doubt,) = read(file, guarded=False).doubts
    assert "others can put another" in doubt.message
    folder.chmod(0o755)
    read(file)
