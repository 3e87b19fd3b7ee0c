"""systemd itself, as the manager of a user, in namespaces of its own that end with it."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.faults.wire import eventually
from tests.survive.world import TWISTD

UNITS = Path(__file__).parents[2] / "systemd"
SYSTEMD = "/usr/lib/systemd/systemd"
SERVICE, SOCKET = "netdaemon.service", "netdaemon.socket"

# Seconds for one test inside.
RUNS = 300

NAMESPACES = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]

# In a control group of its own, which is the root of what is seen inside: two places must not share any.
SET_UP = f"""
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system
mkdir -m 700 -p "$XDG_RUNTIME_DIR"
groups=$(findmnt --noheadings --types cgroup2 --output TARGET | head -n 1)
mkdir "$groups/$CONTROL_GROUP"
echo $$ > "$groups/$CONTROL_GROUP/cgroup.procs"
exec unshare --cgroup sh -ec '
mount -t cgroup2 cgroup2 /sys/fs/cgroup
{SYSTEMD} --user --log-target=console
'
"""

CLEAN_UP = """
groups=$(findmnt --noheadings --types cgroup2 --output TARGET | head -n 1)
test ! -d "$groups/$CONTROL_GROUP" || find "$groups/$CONTROL_GROUP" -depth -type d -exec rmdir {} +
"""


def adapted(unit: str) -> str:
    """One of our units, for the environment that this runs in."""
    return (UNITS / unit).read_text().replace("/usr/local/bin/twistd", TWISTD)


class Place:
    """A systemd --user, and its files."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="sd"))
        self.runtime = self.directory / "run"
        self.units = self.directory / "config/systemd/user"
        self.units.mkdir(parents=True)
        self._env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.directory),
            "XDG_RUNTIME_DIR": str(self.runtime),
            "XDG_CONFIG_HOME": str(self.directory / "config"),
            "CONTROL_GROUP": self.directory.name,
            "SYSTEMD_LOG": str(self.directory / "log"),
        }
        self.log = self.directory / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*NAMESPACES, "sh", "-ec", SET_UP],
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            private = self.runtime / "systemd/private"
            eventually(lambda: private.exists() or self.process.poll() is not None, 10.0)
            if self.process.poll() is not None:
                raise OSError(self.log.read_text(errors="replace"))
        except BaseException:
            self.close()
            raise

    def run(self, *command: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run something inside."""
        (init,) = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return subprocess.run(
            ["nsenter", f"--target={init}", "--mount", "--pid", "--cgroup", *command],
            env={**self._env, **environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=RUNS,
            check=False,
        )

    def close(self) -> None:
        """End it, and with it all that is in its namespaces."""
        self.process.kill()
        self.process.wait()
        clean_up = ["sh", "-ec", CLEAN_UP]
        # What was in it is being killed, and may take a moment.
        quiet = {"env": self._env, "stderr": subprocess.DEVNULL, "check": False}
        eventually(lambda: subprocess.run(clean_up, **quiet).returncode == 0, 20.0)
        shutil.rmtree(self.directory, ignore_errors=True)


@functools.cache
def why_not() -> str | None:
    """Why systemd does not run here, if it does not."""
    missing = [one for one in (SYSTEMD, "systemctl", "unshare", "nsenter", "findmnt") if not shutil.which(one)]
    if missing or os.geteuid() != 0:
        return f"systemd --user cannot be run here: {', '.join(missing) or 'not root'}"
    try:
        place = Place()
    except (OSError, AssertionError) as error:
        return f"systemd --user does not run here: {str(error).strip()[-200:]}"
    try:
        state = place.run("systemctl", "--user", "is-system-running").stdout.strip()
    finally:
        place.close()
    return (
        None
        if state in ("initializing", "starting", "running", "degraded")
        else f"systemd --user does not run here: {state}"
    )
