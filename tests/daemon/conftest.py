"""What several tests of the daemon begin with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from netdaemon.daemon.audit import Audit
from tests.daemon.judged import (
    Rights,
    Stage,
)
from tests.daemon.support import world


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    rights = Rights()
    audit = Audit(str(tmp_path / "audit"))
    with world(policy=lambda: rights, audit=audit) as w:
        yield Stage(w, rights, tmp_path / "audit")
    audit.close()
