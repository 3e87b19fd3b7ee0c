"""Signals by the names that people give them; standard library only."""

from __future__ import annotations

import signal


def number_of(name: str | int) -> int:
    """The number of a signal given by number or by name, with or without SIG: ``TERM``, ``SIGRTMIN+3``, ``9``.

    :raises ValueError: there is none.
    """
    if isinstance(name, int):
        number = name
    elif name.isdecimal():
        number = int(name)
    else:
        word, plus, more = name.upper().removeprefix("SIG").partition("+")
        known = signal.Signals.__members__.get("SIG" + word)
        if known is None or (plus and not (known == signal.SIGRTMIN and more.isdecimal())):
            raise ValueError(f"{name!r} is no signal; there are TERM, KILL, INT, HUP, USR1, ... and numbers")
        number = known.value + int(more or 0)
    if not 0 <= number < signal.NSIG:
        raise ValueError(f"{number} is no signal's number; 0 to {signal.NSIG - 1} are")
    return number


def name_of(number: int) -> str:
    """The name of a signal, without SIG, as `number_of` takes it; its number where it has none."""
    if signal.SIGRTMIN < number < signal.SIGRTMAX:
        return f"RTMIN+{number - signal.SIGRTMIN}"
    try:
        return signal.Signals(number).name.removeprefix("SIG")
    except ValueError:
        return str(number)
