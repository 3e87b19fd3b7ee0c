"""The page of limits says what the code has: each default, each option, nothing left out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import netdaemon
from netdaemon.daemon import outflow, peer, rates, settings
from netdaemon.daemon.settings import Settings
from netdaemon.tap import Options
from netdaemon.wire import answers, commands, frame

DOCUMENT = (Path(netdaemon.__file__).parents[1] / "docs" / "limits.rst").read_text(encoding="utf-8")

# Options that are no limits.
OTHERS = {"socket", "seqpacket", "listen", "mode", "state", "policy", "audit", "cgroup", "grace"}


def rows() -> dict[str, tuple[str, str]]:
    """Each limit, with its default and its option."""
    found = {}
    for entry in re.findall(r"^   \* - (.*?)(?=^   \* - |^\S)", DOCUMENT, re.DOTALL | re.MULTILINE):
        limit, default, option, beyond, why = (cell.strip() for cell in re.split(r"^     -", entry, flags=re.MULTILINE))
        assert beyond, limit
        assert why, limit
        found[limit] = default, option.strip("`")
    del found["limit"]
    return found


def size(value: int) -> str:
    """A number of bytes as the page has it."""
    for unit, name in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if value % unit == 0 and value >= 16 << 10:
            return f"{value // unit} {name}"
    return number(value)


def number(value: float) -> str:
    return f"{value:,.0f}"


def test_the_defaults() -> None:
    """By the numbers in the code, and what a daemon of many descriptors and one of few make of them."""
    usual, few = Settings(descriptors=1 << 20), Settings(descriptors=1024)
    assert settings.CLIENT_SHARE == settings.EACH_SHARE == settings.NEWCOMER_SHARE == 2
    assert few.max_clients == (1024 - settings.DESCRIPTORS_OF_OURS) // 2
    assert usual.max_clients_each * 2 == usual.max_newcomers * 2 == usual.max_clients
    assert usual.max_processes_each == usual.max_processes // 2
    assert settings.RESERVED_SHARE == 8
    assert settings.EXITED_SHARE * settings.DESCRIPTORS_EXITED == 16
    assert settings.DESCRIPTORS_A_PROCESS == 9
    assert peer.MAX_REQUESTS == peer.MAX_ATTACHMENTS
    assert (usual.requests, usual.octets, usual.rate.requests, usual.rate.octets) == (None,) * 4
    expected = {
        "connections": f"half of the descriptors, {number(usual.max_clients)} at most",
        "connections of one user": "half of all",
        "connections kept for root and the daemon's own user": f"{usual.reserved_clients}, or an eighth of all",
        "connections that have not said HELLO": "half of all",
        "seconds until HELLO": number(peer.HELLO_TIMEOUT),
        "messages before HELLO is answered": f"1 of {number(frame.GREETING_LIMIT)} bytes",
        "bytes of a message": f"{size(frame.MAX_MESSAGE)}, in a packet {size(frame.MAX_PACKET)}",
        "seconds from a message's first byte to its last": number(peer.MESSAGE_TIMEOUT),
        "bytes of unfinished messages, of all together": size(usual.input_budget),
        "requests a second, on one connection": "no limit",
        "bytes a second, sent on one connection": "no limit",
        "seconds' worth of either at once": number(rates.BURST),
        "requests that wait for their answers, and attachments and subscriptions, of one connection": (
            f"{number(peer.MAX_REQUESTS)} each"
        ),
        "bytes of answers that a client does not read": size(outflow.REPLY_BACKLOG),
        "bytes of input that wait for one process": size(answers.WINDOW),
        "processes that run": "what is left of the descriptors, at nine each",
        "processes of one user that run": "half of all",
        "processes that have exited and stay listed": f"{usual.exited}, a sixteenth of the descriptors at most",
        "bytes of output kept of one process": size(usual.keep),
        "records of processes": number(usual.records),
        "events": number(usual.events),
        "days for which either is kept": number(usual.records_days),
        "descriptors": "the hard limit",
    }
    assert {limit: default for limit, (default, _) in rows().items()} == expected
    assert f"up to {size(peer.COUNTED)} a connection are not counted" in DOCUMENT
    assert f"from {commands.KEEP_MIN >> 10} KiB to {size(commands.KEEP_MAX)}" in DOCUMENT


def test_the_options() -> None:
    """Each that is a limit, once; with the default that the page tells."""
    options: Any = Options()
    there = {option.rstrip("=") for option in options.longOpt if option.endswith("=")} - OTHERS
    said = [option.removeprefix("--") for _, option in rows().values() if option]
    assert sorted(said) == sorted(there)
    usual = Settings()
    for option, value in (
        ("clients", usual.clients),
        ("clients-each", usual.clients_each),
        ("newcomers", usual.newcomers),
        ("processes", usual.processes),
        ("processes-each", usual.processes_each),
        ("requests-per-second", usual.requests),
        ("bytes-per-second", usual.octets),
        ("burst", usual.burst),
        ("input-budget", usual.input_budget),
        ("exited", usual.exited),
        ("keep", usual.keep),
        ("records", usual.records),
        ("events", usual.events),
        ("days", usual.records_days),
    ):
        assert options[option] == value, option


def test_the_page_is_not_long() -> None:
    assert len(DOCUMENT.splitlines()) <= 150
