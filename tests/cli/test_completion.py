"""What the shells are told to complete."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cli.support import NDTOOL, Ndtool


def complete(ndtool: Ndtool, *words: str, shell: str = "bash") -> list[str]:
    """What is offered for the last of *words*."""
    env = {
        "_NDTOOL_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": " ".join(["ndtool", *words]),
        "COMP_CWORD": str(len(words)) if shell != "fish" else words[-1],
    }
    return [line for line in ndtool.ok(env=env).splitlines() if line]


def values(ndtool: Ndtool, *words: str) -> list[str]:
    return [line.partition(",")[2] for line in complete(ndtool, *words)]


def test_commands_and_options(ndtool: Ndtool) -> None:
    assert values(ndtool, "s") == ["start", "send", "stop", "shutdown"]
    assert "--sig-proxy" in values(ndtool, "start", "--")
    assert values(ndtool, "kill", "--scope", "") == ["group", "process", "tree"]


@pytest.mark.parametrize(
    "command", ["attach", "send", "inspect", "stop", "restart", "kill", "wait", "rm", "list", "logs"]
)
def test_processes_by_name_and_id(ndtool: Ndtool, command: str) -> None:
    one = ndtool.ok("start", "-d", "--name", "web-1", "--", "sleep", "100").strip()
    two = ndtool.ok("start", "-d", "--", "sleep", "100").strip()
    assert set(values(ndtool, command, "")) >= {"web-1", one, two}
    assert values(ndtool, command, "web") == ["web-1"]
    assert two in values(ndtool, command, two[:5])


def test_several_processes(ndtool: Ndtool) -> None:
    ndtool.ok("start", "-d", "--name", "x", "--", "sleep", "100")
    assert "x" in values(ndtool, "rm", "y", "x")


def test_signals(ndtool: Ndtool) -> None:
    assert values(ndtool, "kill", "x", "K") == ["KILL"]
    assert values(ndtool, "kill", "x", "sigus") == ["USR1", "USR2"]


def test_programs_are_files(ndtool: Ndtool) -> None:
    assert complete(ndtool, "start", "/bin/l") == ["file,/bin/l"]


def test_another_socket(ndtool: Ndtool) -> None:
    ndtool.ok("start", "-d", "--name", "x", "--", "sleep", "100")
    assert values(ndtool, "--socket", "/nowhere/s", "attach", "") == []


def test_fish_and_zsh_are_told_what_a_process_is(ndtool: Ndtool) -> None:
    ndtool.ok("start", "-d", "--name", "web-1", "--", "sleep", "100")
    assert "running: sleep 100" in "\n".join(complete(ndtool, "attach", "web", shell="zsh"))
    assert "running: sleep 100" in "\n".join(complete(ndtool, "attach", "web", shell="fish"))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_one_that_the_shell_can_read(ndtool: Ndtool, shell: str) -> None:
    script = ndtool.ok("completion", shell)
    assert f"_NDTOOL_COMPLETE={shell}_complete" in script
    if shutil.which(shell) is not None:
        subprocess.run([shell, "-n", "/dev/stdin"], input=script.encode(), check=True)


def test_bash_completes_with_it(ndtool: Ndtool, tmp_path: Path) -> None:
    ndtool.ok("start", "-d", "--name", "web-1", "--", "sleep", "100")
    program = tmp_path / "ndtool"
    program.write_text(f'#!/bin/sh\nexec {shlex.join(NDTOOL)} "$@"\n')
    program.chmod(0o700)
    script = """
        eval "$(ndtool completion bash)"
        COMP_WORDS=(ndtool attach we) COMP_CWORD=2
        _ndtool_completion ndtool we attach
        echo "${COMPREPLY[@]}"
    """
    env = {**ndtool.env, "PATH": f"{tmp_path}:{ndtool.env['PATH']}"}
    done = subprocess.run(["bash", "-c", script], env=env, capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"web-1\n", b"")
