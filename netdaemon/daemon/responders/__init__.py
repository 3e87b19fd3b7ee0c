"""What is done for each request: the table, with all of them in it."""

from __future__ import annotations

from netdaemon.daemon.responders import attachments, daemon, ends, looks, starts
from netdaemon.daemon.responders.table import RESPONDERS

__all__ = ["RESPONDERS", "attachments", "daemon", "ends", "looks", "starts"]
