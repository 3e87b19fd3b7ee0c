"""Start a program, feed it, read what it says, see how it ends.

python examples/feed.py [unix:/run/user/1000/netdaemon/netdaemon.sock]
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet.task import react

from netdaemon import Gap, LaunchFailed, connect


async def main(reactor: Any, endpoint: str | None = None) -> None:
    client = await connect(reactor, endpoint)

    process = await client.start(["/usr/bin/tr", "a-z", "A-Z"], labels={"purpose": "example"})
    print("safe up to", await process.write(b"hello, "))
    print("safe up to", await process.write(b"world\n"))
    await process.close_stdin()
    async for item in process.output():
        if isinstance(item, Gap):
            print(f"{item.to - item.from_} bytes are not kept any more")
        else:
            print(f"channel {item.channel}, offset {item.offset}: {item.payload!r}")
    status = await process.when_exited()
    print("exit code", status.code, "signal", status.signal)

    print([record.state.value for record in await client.list("label.purpose=example")])
    await client.remove(process)

    try:
        await client.start(["/usr/bin/no-such-program"])
    except LaunchFailed as refusal:
        print(f"{refusal} [errno {refusal.errno}]")

    await client.disconnect()


if __name__ == "__main__":
    react(main, sys.argv[1:])
