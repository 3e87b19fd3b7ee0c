"""Feed a program, read what it says, see how it ends: without a reactor.

python examples/upper.py [/run/user/1000/netdaemon/netdaemon.sock]
"""

from __future__ import annotations

import sys

from netdaemon import LaunchFailed, Output
from netdaemon.blocking import connect

with connect(*sys.argv[1:2]) as client:
    with client.start(["/usr/bin/tr", "a-z", "A-Z"], labels={"purpose": "example"}) as process:
        print("safe up to", process.write(b"hello, world\n"))
        process.close_stdin()
        for event in process:
            if isinstance(event, Output) and event.payload:
                print(f"channel {event.channel}, offset {event.offset}: {event.payload!r}")
        print("exit code", process.wait().code)
    print([record.state.value for record in client.list("label.purpose=example")])
    client.remove(process.id)
    try:
        client.start(["/usr/bin/no-such-program"])
    except LaunchFailed as refusal:
        print(f"{refusal} [errno {refusal.errno}]")
