"""A module imports only from layers at or below its own: read off the source of every module, so that none slips by."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import netdaemon

ROOT = Path(netdaemon.__file__).parent

# Lowest first; a module or a folder each.
LAYERS = (
    "visible",
    "errors",
    "signal_names",
    "ways",
    "wire",
    "logs",
    "patterns",
    "apply",
    "policy",
    "trust",
    "keys",
    "interfaces",
    "keeper",
    "defaults",
    "watching",
    "reasons",
    "declared",
    "resumption",
    "systemd",
    "sockets",
    "tls",
    "process",
    "daemon",
    "client",
    "blocking",
    "tap",
    "cli",
    "testing",
    "__init__",
)

# Layers that stand on nothing of ours but what is named here, whatever is below them.
STANDS_ON = {
    "visible": (),
    "errors": ("visible",),
    "wire": ("errors", "signal_names"),
    "logs": ("errors", "ways", "wire"),
    "patterns": ("errors",),
    "apply": ("errors", "signal_names", "wire", "patterns"),
    "policy": ("errors", "signal_names", "ways", "wire", "apply"),
    "trust": ("errors",),
    "keys": ("trust",),
    "tls": ("errors", "interfaces", "sockets", "trust", "keys"),
    "keeper": (),
    "defaults": (),
    "signal_names": (),
    "ways": (),
    "watching": (),
    "reasons": (),
    "declared": ("wire",),
    "resumption": ("errors", "wire"),
    "systemd": (),
}

# Layers that import nothing but the standard library, and what is ours.
STANDARD_LIBRARY_ONLY = (
    "visible",
    "errors",
    "wire",
    "logs",
    "apply",
    "policy",
    "trust",
    "keeper",
    "defaults",
    "signal_names",
    "systemd",
    "ways",
)

# What a layer may not import although its place would let it.
FORBIDDEN = {
    "wire": ("os", "socket", "twisted", "zope"),
    "process": ("netdaemon.wire.connection", "netdaemon.wire.server", "netdaemon.wire.client"),
    "client": ("netdaemon.daemon", "netdaemon.process"),
    "daemon": ("netdaemon.client",),
    "blocking": ("twisted", "zope", "OpenSSL", "netdaemon.process", "netdaemon.tls"),
    "cli": ("twisted", "zope", "OpenSSL", "netdaemon.process", "netdaemon.tls"),
}

# The one thing that the package itself has for its own modules.
VERSION = "netdaemon.__version__"


def modules() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def module_name(path: Path) -> str:
    """``netdaemon.wire.box`` for netdaemon/wire/box.py, ``netdaemon.wire.__init__`` for its __init__."""
    return ".".join(["netdaemon", *path.relative_to(ROOT).with_suffix("").parts])


def imports(source: str) -> Iterator[str]:
    """The dotted name of all that is imported, anywhere in *source*; of ``from a import b``, ``a.b``.

    Of ``import netdaemon`` it is what is taken from it, as in ``netdaemon.__version__``, that counts.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name != "netdaemon" or alias.asname:
                    yield alias.name
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "netdaemon":
            yield f"netdaemon.{node.attr}"
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield "." * node.level + f"{node.module or ''}.{alias.name}"
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__"):
                yield str(node.args[0].value)


def is_within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def complaints(module: str, source: str) -> list[str]:
    """What is wrong with the imports of *module*."""
    layer = module.split(".")[1]
    if layer not in LAYERS:
        return [f"{module} has no layer"]
    found: list[str] = []
    for name in imports(source):
        parts = name.split(".")
        if name.startswith("."):
            found.append(f"{module} imports {name}, which is relative")
        elif parts[0] == "netdaemon":
            other = parts[1] if len(parts) > 1 else "__init__"
            if other == layer or name == VERSION:
                pass
            elif other not in LAYERS:
                found.append(f"{module} imports {name}, which has no layer")
            elif LAYERS.index(other) > LAYERS.index(layer):
                found.append(f"{module} imports {name}, which is above it")
            elif other not in STANDS_ON.get(layer, LAYERS):
                found.append(f"{module} imports {name}, which it does not stand on")
        elif layer in STANDARD_LIBRARY_ONLY and parts[0] not in sys.stdlib_module_names:
            found.append(f"{module} imports {name}, which is not of the standard library")
        if any(is_within(name, package) for package in FORBIDDEN.get(layer, ())):
            found.append(f"{module} imports {name}, which is forbidden to it")
    return found


def test_there_are_modules() -> None:
    """Those that everything stands on, at least: a walk that finds nothing proves nothing."""
    assert {"netdaemon.errors", "netdaemon.wire.box", "netdaemon.__init__"} <= set(map(module_name, modules()))


@pytest.mark.parametrize("path", modules(), ids=module_name)
def test_imports(path: Path) -> None:
    assert complaints(module_name(path), path.read_text(encoding="utf-8")) == []


# --- that it can fail ---


@pytest.mark.parametrize(
    ("module", "source", "what"),
    [
        ("netdaemon.errors", "import netdaemon.wire.box", "above it"),
        ("netdaemon.errors", "from netdaemon import wire", "above it"),
        ("netdaemon.errors", "import attrs", "not of the standard library"),
        ("netdaemon.wire.bad", "import os", "forbidden"),
        ("netdaemon.wire.bad", "import os.path", "forbidden"),
        ("netdaemon.wire.bad", "from os import path", "forbidden"),
        ("netdaemon.wire.bad", "def late():\n    import socket", "forbidden"),
        ("netdaemon.wire.bad", "if TYPE_CHECKING:\n    from twisted.internet import defer", "forbidden"),
        ("netdaemon.wire.bad", "import zope.interface as z", "forbidden"),
        ("netdaemon.wire.bad", "import importlib\nimportlib.import_module('twisted')", "forbidden"),
        ("netdaemon.wire.bad", "__import__('socket')", "forbidden"),
        ("netdaemon.wire.bad", "from . import box", "relative"),
        ("netdaemon.wire.bad", "from ..errors import Denied", "relative"),
        ("netdaemon.wire.bad", "from netdaemon.daemon.peer import Peer", "above it"),
        ("netdaemon.wire.bad", "import netdaemon as nd", "above it"),
        ("netdaemon.wire.bad", "import netdaemon\nnetdaemon.connect()", "no layer"),
        ("netdaemon.wire.bad", "import netdaemon.errors\nnetdaemon.client", "above it"),
        ("netdaemon.wire.bad", "from netdaemon import connect", "no layer"),
        ("netdaemon.apply.bad", "import netdaemon.defaults", "above it"),
        ("netdaemon.apply.bad", "import twisted", "not of the standard library"),
        ("netdaemon.keeper.bad", "from netdaemon.errors import Denied", "does not stand on"),
        ("netdaemon.keeper.bad", "from twisted.internet import reactor", "not of the standard library"),
        ("netdaemon.keeper.bad", "import zope.interface", "not of the standard library"),
        ("netdaemon.defaults", "import netdaemon.errors", "does not stand on"),
        ("netdaemon.defaults", "import click", "not of the standard library"),
        ("netdaemon.sockets.bad", "import netdaemon.process.spool", "above it"),
        ("netdaemon.process.bad", "from netdaemon.wire import connection", "forbidden"),
        ("netdaemon.process.bad", "from netdaemon.wire.server import ServerConnection", "forbidden"),
        ("netdaemon.process.bad", "import netdaemon.wire.client", "forbidden"),
        ("netdaemon.process.bad", "import netdaemon.daemon.table", "above it"),
        ("netdaemon.process.bad", "import netdaemon.client.client", "above it"),
        ("netdaemon.logs.bad", "import twisted", "not of the standard library"),
        ("netdaemon.logs.bad", "from netdaemon.process.spool import Spool", "above it"),
        ("netdaemon.daemon.bad", "from netdaemon.client import client", "forbidden"),
        ("netdaemon.client.bad", "from netdaemon.daemon.table import ProcessTable", "forbidden"),
        ("netdaemon.blocking", "from twisted.internet import defer", "forbidden"),
        ("netdaemon.cli.bad", "import twisted", "forbidden"),
        ("netdaemon.cli.bad", "import netdaemon.testing", "above it"),
        ("netdaemon.surprise", "", "has no layer"),
        ("netdaemon.daemon.bad", "import netdaemon.surprise", "no layer"),
    ],
)
def test_a_bad_module_is_found(module: str, source: str, what: str) -> None:
    assert what in " | ".join(complaints(module, source))


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("netdaemon.errors", "import errno"),
        ("netdaemon.wire.good", "from netdaemon.errors import Denied\nfrom netdaemon.wire import box\nimport struct"),
        ("netdaemon.keeper.good", "import os, socket\nfrom netdaemon.keeper import launch"),
        ("netdaemon.process.good", "from netdaemon.wire.records import State\nfrom netdaemon.wire import records"),
        ("netdaemon.daemon.good", "from netdaemon import __version__\nimport netdaemon.process.spool"),
        ("netdaemon.daemon.good", "import netdaemon\nnetdaemon.__version__"),
        ("netdaemon.client.good", "from netdaemon.wire.client import ClientConnection"),
        ("netdaemon.cli.good", "import click\nfrom netdaemon import blocking"),
        ("netdaemon.testing", "import netdaemon.daemon.service, netdaemon.client.client"),
        ("netdaemon.__init__", "from netdaemon.client.connect import connect"),
    ],
)
def test_a_good_module_is_let_pass(module: str, source: str) -> None:
    assert complaints(module, source) == []


# --- what is loaded in the end, by whatever way ---


def loaded_by(names: list[str]) -> set[str]:
    """The modules that an interpreter has once it has imported these and nothing else."""
    program = f"import sys, {', '.join(['netdaemon', *names])}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT.parent, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def existing(*layers: str) -> list[str]:
    """The modules of these layers that there are."""
    names = [module_name(path).removesuffix(".__init__") for path in modules()]
    return [name for name in names if name.count(".") and name.split(".")[1] in layers]


@pytest.mark.parametrize(
    ("layers", "unwanted"),
    [
        (("errors", "wire", "logs"), ("twisted", "zope", "click")),
        (("keeper",), ("twisted", "zope", "click", "netdaemon.errors", "netdaemon.wire")),
        (("blocking", "cli"), ("twisted", "zope")),
        ((), ("twisted", "zope", "click", "netdaemon.errors")),
    ],
    ids=["wire and logs", "keeper", "blocking and cli", "netdaemon alone"],
)
def test_what_is_loaded_in_the_end(layers: tuple[str, ...], unwanted: tuple[str, ...]) -> None:
    names = existing(*layers)
    loaded = loaded_by(names)
    assert set(names) <= loaded
    assert not {name for name in loaded if any(is_within(name, package) for package in unwanted)}


def test_what_is_loaded_is_seen() -> None:
    """The check above can fail."""
    assert "twisted.internet.defer" in loaded_by(["twisted.internet.defer"])


def test_what_is_seldom_needed_is_loaded_when_it_is() -> None:
    """A daemon is started anew while everybody waits. What Twisted's own sockets load besides is its affair: OpenSSL,
    where that is installed.
    """
    loaded = loaded_by(["netdaemon.tap"]) - loaded_by(["twisted.internet.tcp"])
    assert loaded.isdisjoint({"psutil", "regex", "rich", "OpenSSL", "cryptography", "netdaemon.tls.contexts"})
    assert not any(is_within(name, "netdaemon.apply") for name in loaded)
