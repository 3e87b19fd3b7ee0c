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
    from netdaemon.client.watch import Watch as Watch
    from netdaemon.errors import *  # noqa: F403
    from netdaemon.trust.credentials import Credentials as Credentials
    from netdaemon.wire.answers import Gap as Gap
    from netdaemon.wire.answers import Happened as Happened
    from netdaemon.wire.answers import Output as Output
    from netdaemon.wire.answers import Status as Status
    from netdaemon.wire.answers import Stopped as Stopped
    from netdaemon.wire.records import Pty as Pty
    from netdaemon.wire.records import State as State
    from netdaemon.wire.specs import Log as Log
    from netdaemon.wire.specs import Policy as Policy
    from netdaemon.wire.specs import Ready as Ready
    from netdaemon.wire.specs import Restart as Restart
    from netdaemon.wire.specs import Step as Step
    from netdaemon.wire.told import Happening as Happening
    from netdaemon.wire.told import Stats as Stats
    from netdaemon.wire.whom import Profile as Profile
    from netdaemon.wire.whom import RunAs as RunAs
    from netdaemon.wire.whom import Sandbox as Sandbox

# Where each name is: it is loaded when it is asked for, so that scripts that use the rest need not have Twisted.
_PLACES = {
    "connect": "netdaemon.client.connect",
    "Client": "netdaemon.client.client",
    "RemoteProcess": "netdaemon.client.remote",
    "Listener": "netdaemon.client.output",
    "Credentials": "netdaemon.trust.credentials",
    "Output": "netdaemon.wire.answers",
    "Gap": "netdaemon.wire.answers",
    "Status": "netdaemon.wire.answers",
    "Pty": "netdaemon.wire.records",
    "State": "netdaemon.wire.records",
    "Watch": "netdaemon.client.watch",
    "Happened": "netdaemon.wire.answers",
    "Stopped": "netdaemon.wire.answers",
    "Happening": "netdaemon.wire.told",
    "Stats": "netdaemon.wire.told",
    "Step": "netdaemon.wire.specs",
    "Restart": "netdaemon.wire.specs",
    "Policy": "netdaemon.wire.specs",
    "Ready": "netdaemon.wire.specs",
    "Log": "netdaemon.wire.specs",
    "RunAs": "netdaemon.wire.whom",
    "Sandbox": "netdaemon.wire.whom",
    "Profile": "netdaemon.wire.whom",
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
