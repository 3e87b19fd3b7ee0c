"""What tests of logs share: lines made of pieces, and what is in the files of a log."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterable
from pathlib import Path

from netdaemon.logs.cri import Block, Encoder

NOW = 1_767_323_045_123_456


def blocks_of(data: bytes, channel: int = 1, now: int = NOW) -> list[Block]:
    """Lines of *data*, its tail as well."""
    encoder = Encoder()
    return [*encoder.feed(channel, now, data), *encoder.flush()]


def files_of(path: Path) -> list[Path]:
    """All files of the log, oldest first, the present one last."""
    aside = sorted(path.parent.glob(path.name + ".2*"), key=lambda one: one.name.removesuffix(".gz"))
    return [*aside, *([path] if path.exists() else [])]


def octets_of(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def text_of(octets: bytes) -> bytes:
    """The output in lines, both channels in one; by a reader that is not ours."""
    result = []
    for line in octets.split(b"\n")[:-1]:
        _, stream, tag, text = line.split(b" ", 3)
        assert stream in (b"stdout", b"stderr")
        result.append(text + {b"F": b"\n", b"P": b""}[tag])
    assert not octets or octets.endswith(b"\n")
    return b"".join(result)


def output_of(path: Path) -> bytes:
    """All output in the log."""
    return b"".join(text_of(octets_of(one)) for one in files_of(path))


def numbered(numbers: Iterable[int], length: int = 60) -> bytes:
    """Lines that can be told apart."""
    return b"".join(f"{number:08} ".encode().ljust(length - 1, b".") + b"\n" for number in numbers)


def root() -> bool:
    return os.geteuid() == 0
