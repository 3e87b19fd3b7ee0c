"""Limits that cannot be, and limits that are tight: told with numbers, and with what to say instead."""

from __future__ import annotations

import re
from typing import Any

import pytest

from netdaemon.daemon.fitting import contradictions, tight
from netdaemon.daemon.settings import (
    DESCRIPTORS_A_PROCESS,
    DESCRIPTORS_EXITED,
    DESCRIPTORS_OF_OURS,
    LEAST_DESCRIPTORS,
    Settings,
)


@pytest.mark.parametrize("descriptors", [LEAST_DESCRIPTORS, 256, 1024, 4096, 20_000, 524_288, 1 << 20])
def test_the_defaults_fit(descriptors: int) -> None:
    """Whatever there is; all of it together, too, and with something left for each."""
    settings = Settings(descriptors=descriptors)
    assert list(contradictions(settings)) == []
    assert list(tight(settings)) == []
    used = (
        DESCRIPTORS_OF_OURS
        + settings.max_clients
        + settings.max_processes * DESCRIPTORS_A_PROCESS
        + settings.max_exited * DESCRIPTORS_EXITED
    )
    assert used <= descriptors
    assert 1 <= settings.max_clients_each <= settings.max_clients
    assert 1 <= settings.max_newcomers <= settings.max_clients
    assert 1 <= settings.max_processes_each <= settings.max_processes
    assert settings.reserved_clients < settings.max_clients


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"clients": 1000}, ("--clients is 1000", "1049 descriptors", "1024 are allowed", "--clients=975")),
        ({"processes": 400}, ("--processes is 400", "1241 descriptors", "1024 are allowed", "--processes=327")),
        ({"clients": 10, "clients_each": 11}, ("--clients-each is 11", "--clients", "10")),
        ({"clients": 10, "newcomers": 11}, ("--newcomers is 11", "--clients", "10")),
        ({"processes": 10, "processes_each": 11}, ("--processes-each is 11", "--processes", "10")),
        ({"clients_each": 500}, ("--clients-each is 500", "is 492")),
    ],
)
def test_what_cannot_be(said: dict[str, Any], words: tuple[str, ...]) -> None:
    (found,) = contradictions(Settings(descriptors=1024, **said))
    for word in words:
        assert word in found


@pytest.mark.parametrize("said", [{"clients": 1000}, {"processes": 400}])
def test_what_is_advised_can_be(said: dict[str, int]) -> None:
    """And one more cannot."""
    ((option, _),) = said.items()
    (found,) = contradictions(Settings(descriptors=1024, **said))
    advised = int(re.findall(rf"--{option}=(\d+)", found)[0])
    assert list(contradictions(Settings(descriptors=1024, **{option: advised}))) == []  # type: ignore[arg-type]
    assert list(contradictions(Settings(descriptors=1024, **{option: advised + 1})))  # type: ignore[arg-type]


def test_all_that_is_wrong_is_told() -> None:
    wrong = list(
        contradictions(Settings(descriptors=1024, clients=1000, newcomers=2000, processes=5, processes_each=6))
    )
    assert len(wrong) == 3


def test_what_is_tight() -> None:
    """There may be that much of each, and not of all."""
    (found,) = tight(Settings(descriptors=1024, clients=500, processes=100))
    assert "500 clients, 100 processes and 64 that have exited can take 1568 descriptors, and 1024 are allowed" in found
    (found,) = tight(Settings(descriptors=1024, exited=1000))
    assert "--exited is 1000, and 64 stay listed" in found
