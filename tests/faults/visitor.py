"""A client that attaches and lets go for ever, until it is killed: python -m tests.faults.visitor PATH SEED."""

from __future__ import annotations

import random
import sys

from netdaemon.errors import NoSuchProcess
from netdaemon.wire.answers import Attached
from netdaemon.wire.commands import Attach, Detach, List
from tests.faults.wire import Wire


def main(path: str, seed: int) -> None:
    """Anew from time to time, in an orderly way or not."""
    chance = random.Random(seed)
    while True:
        wire = Wire(path)
        names = [one.id for one in wire.ask(List()).processes]
        for _ in range(chance.randrange(1, 20)):
            from_ = chance.choice((None, 0, -1))
            id = wire.post(Attach(process=chance.choice(names), from_=from_, hold=chance.choice((None, 0, 50))))
            answer = wire.answer(id)
            if not isinstance(answer, Attached):
                assert isinstance(answer, NoSuchProcess), answer
                continue
            events = wire.events(id)
            for _ in range(chance.randrange(10)):
                next(events)
            if chance.random() < 0.8:
                wire.ask(Detach(to=id))
        wire.close()


main(sys.argv[1], int(sys.argv[2]))
