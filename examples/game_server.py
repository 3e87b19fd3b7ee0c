"""A stand-in for a game server: it talks, it listens to commands on its stdin, and `quit` ends it with exit code 7."""

import sys
import threading
import time


def chatter() -> None:
    """A line five times a second."""
    number = 0
    while True:
        number += 1
        print(f"tick {number}", flush=True)
        time.sleep(0.2)


threading.Thread(target=chatter, daemon=True).start()
for line in sys.stdin:
    print(f"server heard: {line.strip()}", flush=True)
    if line.strip() == "quit":
        sys.exit(7)
