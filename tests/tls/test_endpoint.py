"""What --listen takes, and what it says of what it does not."""

from __future__ import annotations

import pytest
from twisted.internet.endpoints import quoteStringArgument

from netdaemon.tls.endpoint import Listen, listen_of

FILES = "certificate=/c.pem:key=/k.pem:authority=/a.pem"


def test_all_of_it() -> None:
    assert listen_of(f"tls:7878:interface=0.0.0.0:{FILES}:pins=/p") == Listen(
        interface="0.0.0.0", port=7878, certificate="/c.pem", key="/k.pem", authority="/a.pem", pins="/p"
    )
    assert listen_of("tls:0:interface=127.0.0.1:certificate=/c.pem:pins=/p") == Listen(
        interface="127.0.0.1", port=0, certificate="/c.pem", key="/c.pem", pins="/p"
    )


@pytest.mark.parametrize("path", ["/a:b", "/a\\b", "/a=b", "/\\:"])
def test_quoted_as_twisted_does_it(path: str) -> None:
    quoted = quoteStringArgument(path)
    found = listen_of(f"tls:1:interface={quoteStringArgument('::1')}:certificate={quoted}:authority={quoted}")
    assert (found.interface, found.certificate, found.authority) == ("::1", path, path)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("tcp:7878", "tcp would carry everything in plain text"),
        ("tcp6:7878:interface=x", "tcp6 would carry everything in plain text"),
        ("unix:/x", "'unix' is nothing to listen on here"),
        ("7878", "'7878' is nothing to listen on here"),
        ("", "'' is nothing to listen on here"),
        (f"tls:interface=0.0.0.0:{FILES}", "the port is None"),
        (f"tls:65536:interface=0.0.0.0:{FILES}", "the port is '65536'"),
        (f"tls:-1:interface=0.0.0.0:{FILES}", "the port is '-1'"),
        (f"tls:1:{FILES}", "interface= is missing"),
        (f"tls:1:interface=localhost:{FILES}", "interface= is 'localhost', and it is an address"),
        (f"tls:1:interface=::1:{FILES}", "is not understood|is empty"),
        ("tls:1:interface=0.0.0.0:authority=/a", "certificate= is missing"),
        ("tls:1:interface=0.0.0.0:certificate=/a", "authority= and pins= are missing"),
        (f"tls:1:interface=0.0.0.0:{FILES}:key=/x", "key= is given twice"),
        (f"tls:1:interface=0.0.0.0:{FILES}:pins=", "pins= is empty"),
        (f"tls:1:interface=0.0.0.0:{FILES}:verify=no", "'verify=no' is not understood"),
        (f"tls:1:2:interface=0.0.0.0:{FILES}", "'2' is not understood"),
    ],
)
def test_what_is_none(said: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        listen_of(said)
