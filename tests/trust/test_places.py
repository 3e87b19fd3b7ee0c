"""Places as people write them."""

from __future__ import annotations

import pytest

from netdaemon.trust.places import Place, place_of


@pytest.mark.parametrize(
    ("text", "place", "written"),
    [
        ("tls:panel.example.org:7878", Place("panel.example.org", 7878), "panel.example.org:7878"),
        ("localhost:1", Place("localhost", 1), "localhost:1"),
        ("tls:[::1]:65535", Place("::1", 65535), "[::1]:65535"),
        ("192.0.2.7:7878", Place("192.0.2.7", 7878), "192.0.2.7:7878"),
    ],
)
def test_places(text: str, place: Place, written: str) -> None:
    assert place_of(text) == place
    assert str(place) == written
    assert place_of(written) == place


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("panel", "has no port at its end"),
        ("tls:panel", "has no port"),
        ("panel:", "has no port"),
        ("panel:http", "has no port"),
        ("panel:\u0661", "has no port"),
        ("panel:0", "1 to 65535 are allowed"),
        ("panel:65536", "1 to 65535 are allowed"),
        (":7878", "the host is ''"),
        ("::1:7878", "without brackets"),
        ("[panel:x]:7878", "neither a name nor an address of IPv6"),
        ("a b:7878", "the host is 'a b'"),
        ("a/b:7878", "the host is 'a/b'"),
        ("a\nb:7878", "the host is"),
    ],
)
def test_what_is_none(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        place_of(text)


def test_addresses_are_known() -> None:
    assert Place("192.0.2.7", 1).is_address
    assert Place("::1", 1).is_address
    assert not Place("localhost", 1).is_address
