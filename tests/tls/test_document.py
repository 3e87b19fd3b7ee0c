"""docs/tls.rst says what there is: its commands are carried out, and print what it says but for keys and times."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

from netdaemon.cli.config import read
from netdaemon.cli.group import ndtool
from netdaemon.tls.endpoint import FORM, listen_of
from tests.cli.test_keys import elsewhere, secured
from tests.test_documents_managing import LEAST, MOST, README, ROOT, blocks, named_tests
from tests.tls.support import free_port

PAGE = (ROOT / "docs" / "tls.rst").read_text(encoding="utf-8")


def typed() -> list[tuple[list[str], str]]:
    """The commands on the page, and what they print."""
    found = re.findall(r"^    \$ ndtool (.*)\n((?:    (?!\$).*\n)*)", PAGE, re.MULTILINE)
    return [(shlex.split(line), textwrap.dedent(printed)) for line, printed in found]


def masked(text: str) -> str:
    """Without what is another each time."""
    text = re.sub(r"sha256:[0-9a-f]{64}", "sha256:PIN", text)
    return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", "DATE", text)


def test_its_length_and_its_tests() -> None:
    assert LEAST <= PAGE.count("\n") <= MOST
    assert "`docs/tls.rst <docs/tls.rst>`_" in README
    assert FORM.replace("ADDRESS", "ADDRESS") in PAGE
    names = named_tests(PAGE)
    assert len(names) >= 5
    for path, test in names:
        assert re.search(rf"^(async )?def {test}\(", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE), test


def test_options_that_are_named() -> None:
    known = {option for one in [ndtool, *ndtool.commands["keys"].commands.values()] for option in getopts(one)}  # type: ignore[attr-defined]
    known |= {"--listen", "--policy"}
    for option in re.findall(r"``(--[a-z-]+)", PAGE):
        assert option in known, option


def getopts(command: object) -> list[str]:
    return [option for parameter in command.params for option in parameter.opts]  # type: ignore[attr-defined]


def test_the_file_of_daemons(tmp_path: Path) -> None:
    (text,) = blocks(PAGE, "toml")
    file = tmp_path / "config.toml"
    file.write_text(text)
    token = tmp_path / "test.token"
    token.write_text("secret")
    token.chmod(0o600)
    config = read(str(file))
    assert config.default == "prod"
    assert config.daemon("prod").place == "localhost:7878"
    assert config.daemon("test").token == b"secret"
    assert config.daemon("here").socket == "/run/netdaemon/netdaemon.sock"


def test_from_keys_to_a_program(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    run = elsewhere(tmp_path)
    printed = ""
    for words, expected in typed():
        done = run(*words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr.decode()
        printed = done.stdout.decode()
        assert masked(printed) == masked(expected)
    said = re.search(r"--listen '(.*)'", PAGE)
    assert said is not None
    port = free_port()
    listen = said[1].replace("7878", str(port))
    assert listen_of(listen).interface == "0.0.0.0"
    (program,) = blocks(PAGE, "python")
    (shown,) = re.findall(r"^It prints::\n\n((?:    .*\n)+)", PAGE, re.MULTILINE)
    with secured(tmp_path, listen):
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                f"from netdaemon import Credentials, blocking\n{program.replace('7878', str(port))}",
            ],
            cwd=tmp_path,
            env={"PYTHONPATH": str(ROOT)},
            capture_output=True,
            check=False,
            timeout=60,
        )
    assert done.stderr == b""
    assert done.stdout.decode() == textwrap.dedent(shown)
