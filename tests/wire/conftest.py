"""The wire needs no reactor: its tests are called as they are, whatever plugins would do around them."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is no failure.
settings.register_profile("netdaemon", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("netdaemon")


def pytest_configure(config: pytest.Config) -> None:
    """Python's -b reports hypothesis for having bytes and text in one dictionary."""
    config.addinivalue_line("filterwarnings", "ignore::BytesWarning:hypothesis")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool:
    """Call the test, and nothing else: pytest-twisted cannot run a test that has both examples and parameters."""
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    pyfuncitem.obj(**arguments)
    return True
