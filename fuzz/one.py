"""Fuzzes one target until it is told to end: python -m fuzz.one TARGET [options of libFuzzer] [folder of inputs]."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["netdaemon", "tomllib"], enable_loader_override=False):
    from fuzz.targets import TARGETS

atheris.Setup([sys.argv[0], *sys.argv[2:]], TARGETS[sys.argv[1]])
atheris.Fuzz()
