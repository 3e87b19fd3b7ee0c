"""Runs a program whose daemon waits for less long: as many seconds for the rest of a message as are said.

python hurried.py SECONDS PROGRAM ARG...

In the ordinary run of the tests nobody waits for half a minute.
"""

from __future__ import annotations

import runpy
import sys

from netdaemon.daemon import peer

peer.MESSAGE_TIMEOUT = float(sys.argv[1])
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
