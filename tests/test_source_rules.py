"""What netdaemon's own source must not do, whoever asks: read off the syntax tree of every module."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import netdaemon
from netdaemon.daemon.responders import RESPONDERS
from netdaemon.wire.commands import REQUESTS, Hello

ROOT = Path(netdaemon.__file__).parent

# What comes from a peer, a child or a file goes through these.
EXPOSED = ("wire", "daemon", "keeper", "process", "policy", "sockets", "logs", "apply", "patterns.py", "systemd.py")

# What turns data into code, or into objects of any class.
MADE_OF_DATA = ("eval", "exec", "compile", "__import__", "import_module", "globals", "locals")
FORMATS = ("pickle", "marshal", "shelve", "dill", "jsonpickle", "yaml", "code", "imp")

# A name that is computed is looked up here, and all of these come from a declaration of ours: fields of our own
# dataclasses, and tables of such names.
OURS_BY_NAME = {
    "apply/keys.py",
    "daemon/starting.py",
    "process/identity.py",
    "process/record.py",
    "process/saved.py",
    "wire/digest.py",
    "wire/layout.py",
    "wire/specs.py",
    "wire/v1.py",
    "wire/whom.py",
}

# The one that makes code: of declarations, when they are declared, before there is any peer.
GENERATES = {("wire/generate.py", "exec")}

# Where a number is signalled: each is that of a child of ours that nobody has waited for, which keeps it its own.
BY_NUMBER = {
    ("keeper/child.py", "killpg"): 1,
    ("keeper/launch.py", "kill"): 1,
    ("keeper/restart.py", "kill"): 1,
    ("keeper/words.py", "kill"): 1,
    ("process/signals.py", "killpg"): 1,
}

# Of Twisted and of the socket module: whatever could make the daemon listen to a network.
NETWORK = (
    "AF_INET",
    "AF_INET6",
    "listenTCP",
    "listenSSL",
    "listenUDP",
    "TCP4ServerEndpoint",
    "TCP6ServerEndpoint",
    "serverFromString",
    "create_server",
)

# Who may, with TLS and nothing else.
LISTENS = ("tls/",)

SHELLS = ("sh", "bash", "/bin/sh", "/bin/bash", "/usr/bin/sh", "/usr/bin/bash", "/usr/bin/env")


@cache
def trees() -> dict[str, ast.Module]:
    """The syntax tree of each module, by its path."""
    paths = sorted(ROOT.rglob("*.py"))
    return {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in paths}


def sources(*of: str) -> Iterator[tuple[str, ast.Module]]:
    """Those of these folders, or of all."""
    return ((name, tree) for name, tree in trees().items() if not of or name.split("/")[0] in of)


def called(node: ast.AST) -> str:
    """What a call calls, by its last name."""
    if not isinstance(node, ast.Call):
        return ""
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def module_of(node: ast.Call) -> str:
    """What stands before the dot."""
    value = node.func.value if isinstance(node.func, ast.Attribute) else None
    return value.id if isinstance(value, ast.Name) else ""


def names_used(tree: ast.Module) -> Iterator[str]:
    """Every name and attribute, and all that is imported."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from (alias.name for alias in node.names)


def builtin_calls(tree: ast.Module, names: tuple[str, ...]) -> Iterator[ast.Call]:
    """Calls of builtins, and of what importlib has; not of methods that have the same name, as re.compile."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and called(node) in names:
            if isinstance(node.func, ast.Name) or module_of(node) in ("builtins", "importlib"):
                yield node


def computed(tree: ast.Module) -> int:
    """How often an attribute is looked up or set by a name that is no constant."""
    return sum(
        not isinstance(node.args[1], ast.Constant)
        for node in builtin_calls(tree, ("getattr", "setattr", "delattr", "hasattr"))
    ) + sum(called(node) in ("attrgetter", "methodcaller") for node in ast.walk(tree))


def shells(tree: ast.Module) -> Iterator[str]:
    """Ways to a shell."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if module_of(node) == "os" and called(node) in ("system", "popen"):
                yield f"os.{called(node)}"
            if called(node) in ("getoutput", "getstatusoutput", "create_subprocess_shell"):
                yield called(node)
            yield from (f"{keyword.arg}=" for keyword in node.keywords if keyword.arg == "shell")


# --- rule 1 ----------------------------------------------------------------------------------------------------------


def test_each_request_has_one_responder_in_a_table() -> None:
    """Of all that a peer can ask for, and of nothing else; HELLO is the connection's own."""
    assert set(RESPONDERS) == set(REQUESTS.values()) - {Hello}


def test_nothing_of_a_peer_becomes_code() -> None:
    made = {(name, called(node)) for name, tree in sources(*EXPOSED) for node in builtin_calls(tree, MADE_OF_DATA)}
    assert made == GENERATES


def test_nothing_of_a_peer_becomes_an_object_of_any_class() -> None:
    used = {(name, one) for name, tree in sources() for one in imported(tree) if one.split(".")[0] in FORMATS}
    assert used == set()


def imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def test_no_attribute_has_a_peers_name() -> None:
    """One more module that computes a name is to be looked at, and entered above."""
    assert {name for name, tree in sources(*EXPOSED) if computed(tree)} == OURS_BY_NAME


# --- rule 7 ----------------------------------------------------------------------------------------------------------


def test_no_network_without_tls() -> None:
    """There is no other place from which anything listens to one, and so no switch for it."""
    parts = ("daemon", "sockets", "process", "keeper", "tap.py", "systemd.py", "tls")
    found = {name for name, tree in sources(*parts) if set(names_used(tree)) & set(NETWORK)}
    assert {name for name in found if not name.startswith(LISTENS)} == set()


# --- rule 10 ---------------------------------------------------------------------------------------------------------


def test_never_a_shell() -> None:
    assert {(name, way) for name, tree in sources() for way in shells(tree)} == set()


def test_no_shell_is_named() -> None:
    """Where children are made there is none to be executed by mistake."""
    named = {
        (name, str(node.value))
        for name, tree in sources("keeper", "process", "daemon")
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and (
            (isinstance(node.value, str) and node.value in SHELLS)
            or (isinstance(node.value, bytes) and node.value.decode("latin-1") in SHELLS)
        )
    }
    assert named == set()


# --- rule 11 ---------------------------------------------------------------------------------------------------------


def test_numbers_are_signalled_where_they_are_sure() -> None:
    found = Counter(
        (name, called(node))
        for name, tree in sources("keeper", "process", "daemon")
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and module_of(node) == "os" and called(node) in ("kill", "killpg")
    )
    assert found == BY_NUMBER


# --- that it can fail ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", ["eval(text)", "exec(text, {})", "importlib.import_module(name)", "__import__(name)"])
def test_code_is_found(bad: str) -> None:
    assert list(builtin_calls(ast.parse(bad), MADE_OF_DATA))


@pytest.mark.parametrize("good", ["re.compile(text)", "self.compile(text)", "connection.execute(text)"])
def test_what_only_sounds_like_code_is_let_pass(good: str) -> None:
    assert not list(builtin_calls(ast.parse(good), MADE_OF_DATA))


@pytest.mark.parametrize("bad", ["getattr(self, word)", "setattr(self, word, 1)", "attrgetter(word)(self)"])
def test_a_computed_name_is_found(bad: str) -> None:
    assert computed(ast.parse(bad)) == 1


def test_a_constant_name_is_let_pass() -> None:
    assert computed(ast.parse("getattr(self, 'word', None)")) == 0


@pytest.mark.parametrize(
    "bad", ["os.system(text)", "os.popen(text)", "subprocess.run(text, shell=True)", "Popen(text, shell=yes)"]
)
def test_a_shell_is_found(bad: str) -> None:
    assert list(shells(ast.parse(bad)))


@pytest.mark.parametrize("bad", ["socket.socket(socket.AF_INET)", "reactor.listenTCP(1, f)", "from x import AF_INET6"])
def test_a_network_is_found(bad: str) -> None:
    assert set(names_used(ast.parse(bad))) & set(NETWORK)
