"""What several tests by TLS use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack

import pytest

from tests.tls.support import Cutting, TcpProxy


@pytest.fixture
def cutting() -> Iterator[Cutting]:
    """Makes a proxy that cuts connections."""
    with ExitStack() as stack:

        def make(target: int, limits: Iterable[tuple[int, int]]) -> TcpProxy:
            one = TcpProxy(target, limits)
            stack.callback(one.close)
            return one

        yield make
