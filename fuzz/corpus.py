"""The inputs that are kept of each target, a line of hexadecimal each in corpus/TARGET.txt, and what it begins with."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from fuzz.keeper import state_seeds, word_seeds
from netdaemon.wire.frame import LENGTH
from tests.wire.golden import V1_EVENTS, V1_REPLIES, V1_REQUESTS, V2_EVENTS, V2_REPLIES, V2_REQUESTS, Golden
from tests.wire.support import from_hex

FOLDER = Path(__file__).with_name("corpus")

EXAMPLES = Path(__file__).parent.parent / "examples"


def kept(target: str) -> list[bytes]:
    """What was found worth keeping, and whatever has ever failed."""
    path = FOLDER / f"{target}.txt"
    return [bytes.fromhex(line) for line in path.read_text().splitlines()] if path.exists() else []


def keep(target: str, inputs: Iterable[bytes]) -> None:
    """Have these as well; the shortest first, so that what is new is seen in a diff."""
    known = {*kept(target), *inputs}
    if not known:
        return
    lines = sorted((one.hex() for one in known), key=lambda line: (len(line), line))
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{target}.txt").write_text("".join(f"{line}\n" for line in lines))


def seeds(target: str) -> list[bytes]:
    """What is right, from which it goes on to what is not."""
    if target == "hello":
        return [_golden([V1_REQUESTS[0]])[0], _golden([V2_REQUESTS[0]])[0], _golden([V2_REQUESTS[0]])[0][LENGTH.size :]]
    if target == "frame":
        requests = _golden(V2_REQUESTS)
        return [b"\0" + one for one in requests] + [b"\7" + b"".join(requests)]
    if target == "box":
        return [one[LENGTH.size + 6 :] for one in _golden(V2_REQUESTS)]
    if target == "v1":
        messages = [one[LENGTH.size :] for one in _golden(V1_REQUESTS)]
        packets = [(len(one) - 6).to_bytes(2, "big") + one for one in messages]
        return [b"\0" + one for one in packets] + [b"\0" + b"".join(packets)]
    if target == "answers":
        first = [b"\1" + one for one in _golden([*V2_REPLIES, *V2_EVENTS])]
        return first + [b"\0" + one for one in _golden([*V1_REPLIES, *V1_EVENTS])]
    if target in ("specs", "policy"):
        return [path.read_bytes() for path in sorted(EXAMPLES.glob("*.toml"))]
    return state_seeds() if target == "keeper-state" else word_seeds()


def _golden(table: list[Golden]) -> list[bytes]:
    return [from_hex(one.octets) for one in table]
