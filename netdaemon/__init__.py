"""Start, watch, feed and signal long-lived programs over a socket."""

from __future__ import annotations

__version__ = "0.1.0"

# Not from typing: a keeper imports this, and typing costs two megabytes.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from netdaemon.client.client import Client as Client
    from netdaemon.client.connect import connect as connect
    from netdaemon.client.output import Listener as Listener
    from netdaemon.client.remote import RemoteProcess as RemoteProcess
    from netdaemon.errors import *  # noqa: F403
    from netdaemon.wire.answers import Gap as Gap
    from netdaemon.wire.answers import Output as Output
    from netdaemon.wire.answers import Status as Status
    from netdaemon.wire.records import Pty as Pty

# Where each name is: it is loaded when it is asked for, so that scripts that use the rest need not have Twisted.
_PLACES = {
    "connect": "netdaemon.client.connect",
    "Client": "netdaemon.client.client",
    "RemoteProcess": "netdaemon.client.remote",
    "Listener": "netdaemon.client.output",
    "Output": "netdaemon.wire.answers",
    "Gap": "netdaemon.wire.answers",
    "Status": "netdaemon.wire.answers",
    "Pty": "netdaemon.wire.records",
}


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(f"module 'netdaemon' has no attribute {name!r}")
    import importlib

    place = _PLACES.get(name)
    if place is None:
        errors = importlib.import_module("netdaemon.errors")
        if name not in errors.__all__:
            raise AttributeError(f"module 'netdaemon' has no attribute {name!r}")
        place = "netdaemon.errors"
    value = getattr(importlib.import_module(place), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    import importlib

    errors = importlib.import_module("netdaemon.errors")
    return sorted({*globals(), *_PLACES, *errors.__all__})
