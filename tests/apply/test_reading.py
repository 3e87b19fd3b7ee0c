"""What a file of specs comes to; and whatever is wrong with it is told with its place, all of it."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from netdaemon.apply import SpecFaults, read
from netdaemon.apply.reading import FILE_MAX, SET_NAME_MAX
from netdaemon.wire.commands import KEY_MAX, Start
from netdaemon.wire.records import Pty, Scope
from netdaemon.wire.specs import Log, Policy, Ready, Restart, Step
from tests.apply.support import ENVIRON, faults_in, specs_in

# --- what is right ---


def test_all_that_can_be_said(tmp_path: Path) -> None:
    found = specs_in(
        tmp_path,
        r"""
        [set]
        name = "all"
        [process.openttd]
        argv = ["openttd", "-D", ""]
        path = "/usr/games/openttd"
        cwd = "srv/./x/.."
        merge = true
        keep = "16M"
        env = { HOME = "/srv/ottd", EMPTY = "" }
        inherit = ["PATH", "NOT_SET"]
        labels = { db_id = "42" }
        restart = { policy = "on-failure", codes = [0, 2], delay = "200ms", longest = "2m", settled = "0s", burst = 5 }
        stop = [ {stdin = "save\n"}, {wait = "5s"}, {signal = "TERM", scope = "tree"}, {wait = "1m"}, {kill = true} ]
        ready = { output = "listening on", timeout = "30s" }
        watchdog = "10s"
        log = { path = "../log/x.log", size = "64k", age = "1d", files = 7, compress = false, required = true }
        """,
    )
    assert (found.name, found.prefix) == ("all", "apply/all/")
    assert found.specs == (
        Start(
            key="apply/all/openttd",
            name="openttd",
            argv=("openttd", "-D", ""),
            path="/usr/games/openttd",
            cwd=f"{tmp_path}/srv",
            merge=True,
            keep=16 << 20,
            env=("PATH=/bin:/usr/bin", "HOME=/srv/ottd", "EMPTY="),
            labels=("db_id=42",),
            restart=Restart(
                policy=Policy.ON_FAILURE, codes=(0, 2), delay=200, longest=120_000, settled=0, burst=5, interval=60_000
            ),
            stop=(
                Step(stdin=b"save\n"),
                Step(wait=5000),
                Step(signal=15, scope=Scope.TREE),
                Step(wait=60_000),
                Step(kill=True),
            ),
            ready=Ready(output="listening on", timeout=30_000),
            watchdog=10_000,
            log=Log(
                path=f"{tmp_path.parent}/log/x.log",
                size=65536,
                age=24 * 3600_000,
                files=7,
                compress=False,
                required=True,
            ),
        ),
    )


def test_as_little_as_can_be_said(tmp_path: Path) -> None:
    found = specs_in(tmp_path, 'process.x.command = "cat"')
    assert found.name == "games"
    assert found.specs == (Start(argv=("cat",), env=(), name="x", key="apply/games/x"),)


@pytest.mark.parametrize(
    ("said", "field", "meant"),
    [
        ("command = \"a 'b c' d\\\\ e\"", "argv", ("a", "b c", "d e")),
        ('argv = ["$HOME", "*"]', "argv", ("$HOME", "*")),
        ("pty = true", "pty", Pty()),
        ("pty = false", "pty", None),
        ('pty = {rows = 50, columns = 132, term = "xterm"}', "pty", Pty(rows=50, columns=132, term="xterm")),
        ('restart = "always"', "restart", Restart(policy=Policy.ALWAYS)),
        ('restart = "unless-stopped"', "restart", Restart(policy=Policy.UNLESS_STOPPED)),
        ("ready = {notify = true}", "ready", Ready(notify=True)),
        ('ready = {pattern = "up|ok"}', "ready", Ready(pattern="up|ok")),
        ('log = "/var/log/x"', "log", Log(path="/var/log/x")),
        ("keep = 65536", "keep", 65536),
        ("keep = 5000", "keep", 8192),
        ('keep = "64k"', "keep", 65536),
        ('cwd = "/srv/"', "cwd", "/srv"),
        ('watchdog = "1500ms"', "watchdog", 1500),
        ('watchdog = "1h"', "watchdog", 3600_000),
        ('stop = [{signal = "SIGINT"}]', "stop", (Step(signal=2),)),
        ("stop = [{signal = 9}]", "stop", (Step(signal=9),)),
        ('inherit = ["LANG"]', "env", ("LANG=C",)),
    ],
)
def test_ways_to_say_it(tmp_path: Path, said: str, field: str, meant: Any) -> None:
    more = "" if "argv" in said or "command" in said else 'command = "cat"\n'
    (spec,) = specs_in(tmp_path, f"[process.x]\n{more}{said}\n").specs
    assert getattr(spec, field) == meant


def test_what_is_inherited_may_be_no_text(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text('process.x = {command = "cat", inherit = ["N"]}')
    (found,) = read(tmp_path / "x.toml", environ={"N": os.fsdecode(b"\xff")})
    assert found.specs[0].env == ("N=\udcff",)


def test_our_own_environment_unless_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OF_OURS", "1")
    (tmp_path / "x.toml").write_text('process.x = {command = "cat", inherit = ["OF_OURS"]}')
    assert read(tmp_path / "x.toml")[0].specs[0].env == ("OF_OURS=1",)


def test_paths_are_relative_to_the_file_and_not_to_us(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "x.toml").write_text('process.x = {command = "cat", cwd = ".", log = "l/x"}')
    monkeypatch.chdir(tmp_path)
    ((spec,),) = (one.specs for one in read("sub/x.toml"))
    assert (spec.cwd, spec.log) == (f"{tmp_path}/sub", Log(path=f"{tmp_path}/sub/l/x"))


def test_the_longest_names_make_a_key(tmp_path: Path) -> None:
    set_name, name = "s" * SET_NAME_MAX, "n" * 64
    found = specs_in(tmp_path, f'set.name = "{set_name}"\nprocess.{name}.command = "cat"')
    assert len(found.specs[0].key or "") == KEY_MAX


def test_no_process_is_said(tmp_path: Path) -> None:
    assert specs_in(tmp_path, "[process]").specs == ()


# --- what is wrong ---


@pytest.mark.parametrize(
    ("said", "place", "message"),
    [
        ("restrat = 1", "restrat", 'there is no such key; did you mean "restart"?'),
        ("xyzzy = 1", "xyzzy", "there is no such key; there are argv, command, path"),
        ("argv = []", "argv", "it is empty"),
        ('argv = "cat"', "argv", 'it is a string, "cat"; wanted is an array'),
        ('argv = ["cat", 1]', "argv[1]", "it is an integer, 1; wanted is a string"),
        ('argv = [""]', "argv[0]", "it is empty"),
        (r'argv = ["a", "\u0000"]', "argv[1]", "it has a NUL in it"),
        ('command = "a \'b"', "command", "it cannot be split into words: No closing quotation"),
        ('command = "  "', "command", "it names no program"),
        ("path = 1979-05-27", "path", "it is a date or time, 1979-05-27; wanted is a string"),
        ('path = ""', "path", "it is empty"),
        ("merge = 1", "merge", "it is an integer, 1; wanted is true or false"),
        ("env = []", "env", "it is an array; wanted is a table of strings"),
        ("env.A = 1", "env.A", "it is an integer, 1; wanted is a string"),
        ('env."A=" = "1"', 'env."A="', "a variable's name is not empty, and has no = and no NUL"),
        ('inherit = ["A="]', "inherit[0]", "a variable's name is not empty, and has no = and no NUL"),
        ('inherit = ["A", "A"]', "inherit[1]", "A is there twice"),
        ('env.A = "1"\ninherit = ["A"]', "inherit[0]", "A is in env, too; which of them counts?"),
        ('labels."nd.x" = "1"', 'labels."nd.x"', "are netdaemon's own"),
        ('labels.x = "' + 300 * "y" + '"', "labels.x", "has 300 characters; at most 256"),
        ("labels.x = true", "labels.x", "it is a boolean, true; wanted is a string"),
        ("\n".join(f'labels.x{n} = ""' for n in range(65)), "labels", "65 labels, and at most 64 are allowed"),
        ("pty = 1", "pty", "it is an integer, 1; wanted is a table"),
        ("pty.rows = 70000", "pty.rows", "it is 70000, and 0 to 65535 are allowed"),
        ("pty = true\nmerge = false", "merge", "it is false, and a pty has one output"),
        ('keep = "1k"', "keep", "it is 1k, and 4k to 256M are allowed"),
        ('keep = "1Mb"', "keep", 'it is "1Mb"; a size is a whole number, of bytes or of k, M or G'),
        ("keep = 1.5", "keep", "it is a float, 1.5; wanted is a size"),
        ("watchdog = 10", "watchdog", 'it is 10, of what? Say the unit: "10s", or ms, m, h, d'),
        ('watchdog = "10"', "watchdog", 'it is "10"; a duration is a whole number and ms, s, m, h or d'),
        ('watchdog = "-1s"', "watchdog", 'it is "-1s"; a duration is'),
        ('watchdog = "10ms"', "watchdog", 'it is "10ms", and 100ms to 24h are allowed'),
        ("watchdog = true", "watchdog", "it is a boolean, true; wanted is a duration"),
        ("stop = {}", "stop", "it is a table; wanted is an array"),
        ("stop = []", "stop", "1 to 32 are allowed"),
        ("stop = [5]", "stop[0]", "it is an integer, 5; wanted is a table"),
        ("stop = [{}]", "stop[0]", "a step has exactly one of"),
        ("stop = [{kill = false}]", "stop[0]", "a step has exactly one of"),
        ('stop = [{signal = "TREM"}]', "stop[0].signal", "'TREM' is no signal"),
        ("stop = [{signal = 0}]", "stop[0].signal", "it is 0, and 1 to 64 are allowed"),
        ("stop = [{signal = true}]", "stop[0].signal", "it is a boolean, true; wanted is a signal"),
        ('stop = [{kill = true}, {signal = "TERM"}]', "stop", "kill is the last step"),
        ('stop = [{wait = "5s"}]', "stop", "stop only waits"),
        ('stop = [{stdin = ""}]', "stop[0].stdin", "it has 0 bytes, and 1 to 4096 are allowed"),
        ('stop = [{signal = 15, scope = "grup"}]', "stop[0].scope", 'it is "grup"; did you mean "group"?'),
        ('stop = [{kill = true, scope = "tree"}]', "stop[0]", "scope is given, and it belongs to signal"),
        ('restart = "on_failure"', "restart", 'it is "on_failure"; did you mean "on-failure"?'),
        ("restart = true", "restart", "wanted is one of never, on-failure, always, unless-stopped"),
        ("restart = {}", "restart", "it says no policy"),
        ('restart = {policy = "always", codes = [256]}', "restart.codes[0]", "it is 256, and 0 to 255 are allowed"),
        (
            'restart = {policy = "always", delay = "5m"}',
            "restart.longest",
            "it is 1m, and delay, which comes first, 5m",
        ),
        ('restart = {policy = "always", burst = 101}', "restart.burst", "0 to 100 are allowed"),
        ("ready = {}", "ready", "ready has exactly one of output, pattern and notify"),
        ('ready = {output = "a", notify = true}', "ready", "and this has output, notify"),
        (r'ready.output = "a\nb"', "ready.output", "it has more than one line"),
        ('ready.output = "' + 513 * "x" + '"', "ready.output", "it has 513 characters, and 1 to 512 are allowed"),
        ('ready.pattern = "("', "ready.pattern", "the pattern '(' is no regular expression"),
        ('log = "logs/"', "log", "it ends with /; a log is a file"),
        ("log.files = 3", "log", "it says no path"),
        ('log = {path = "x", size = "1k"}', "log.size", "it is 1k, and 4k to 1024G are allowed"),
        ('log = {path = "x", age = "10ms"}', "log.age", 'it is "10ms", and 1s to 8784h are allowed'),
    ],
)
def test_a_fault_is_told_where_it_is(tmp_path: Path, said: str, place: str, message: str) -> None:
    more = "" if said.startswith(("argv", "command")) else 'command = "cat"\n'
    ((found, told),) = faults_in(tmp_path, f"[process.x]\n{more}{said}\n")
    assert found == f"process.x.{place}"
    assert message in told


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("", "", "it has no process"),
        ("process = 3", "process", "it is an integer, 3; wanted is a table of tables"),
        ("process.x = 3", "process.x", "it is an integer, 3; wanted is a table"),
        ("[process.x]", "process.x", "either argv or command, and it has neither"),
        ('[process.x]\nargv = ["a"]\ncommand = "a"', "process.x", "either argv or command, and it has both"),
        ('[process."a b"]\ncommand = "x"', 'process."a b"', "it is 'a b', and a name is 1 to 64 of the characters"),
        ('[proces.x]\ncommand = "x"\n[process]', "proces", 'did you mean "process"?'),
        ('set.name = "a/b"\n[process]', "set.name", "it is 'a/b', and a name is"),
        ("set.name = 1\n[process]", "set.name", "it is an integer, 1; wanted is a string"),
        ('set.nam = "a"\n[process]', "set.nam", 'did you mean "name"?'),
        (
            f'set.name = "{"s" * (SET_NAME_MAX + 1)}"\n[process]',
            "set.name",
            "58 characters, and at most 57 are allowed",
        ),
        ("process.x.argv = [" + '"' + "x" * (1 << 20) + '"]', "process.x.argv", "fit into the process's record"),
    ],
)
def test_a_fault_of_the_whole(tmp_path: Path, text: str, place: str, message: str) -> None:
    ((found, told),) = faults_in(tmp_path, text)
    assert found == place
    assert message in told


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    places = [
        place
        for place, _ in faults_in(
            tmp_path,
            """
            [set]
            nam = "x"
            [process.a]
            argv = "sleep"
            labels = { "nd.x" = "1", y = 3 }
            restart = { policy = "on_failure", delay = 5, longest = "2d" }
            stop = [ {stdin = "x"}, {wait = "5s", signal = "TERM"}, {signal = "TREM"} ]
            [process."b c"]
            comand = "x"
            """,
        )
    ]
    assert places == [
        "set.nam",
        "process.a.argv",
        "process.a.labels.y",
        'process.a.labels."nd.x"',
        "process.a.restart.policy",
        "process.a.restart.delay",
        "process.a.restart.longest",
        "process.a.stop[1]",
        "process.a.stop[2].signal",
        'process."b c"',
        'process."b c".comand',
        'process."b c"',
    ]


@pytest.mark.parametrize(
    ("octets", "line", "column", "message"),
    [
        (b"[process.x]\nargv = [\n", 3, 1, "Invalid value"),
        (b'[process.x]\ncommand = "cat\n', 2, 15, "Illegal character '\\n'"),
        (b"[process.x]\nargv = ]", 2, 8, "Invalid value"),
        (b"[process.x]\n[process.x]\n", 2, 11, "twice"),
        (b"[process.x]\n \xc3\xa4 = '\xff'", 2, 7, "the byte 0xff is not UTF-8"),
    ],
)
def test_syntax_is_told_by_line_and_column(tmp_path: Path, octets: bytes, line: int, column: int, message: str) -> None:
    file = tmp_path / "games.toml"
    file.write_bytes(octets)
    with pytest.raises(SpecFaults) as caught:
        read(file)
    (fault,) = caught.value.faults
    assert (fault.line, fault.column) == (line, column)
    assert message in fault.message
    assert str(fault).startswith(f"{file}:{line}:{column}: ")
    assert "(at " not in fault.message


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    large = tmp_path / "large.toml"
    large.write_bytes(b"#" * (FILE_MAX + 1))
    deep = tmp_path / "deep.toml"
    deep.write_text("x = " + "[" * 100_000)
    with pytest.raises(SpecFaults) as caught:
        read(tmp_path / "none.toml", tmp_path, large, deep)
    messages = [fault.message for fault in caught.value.faults]
    assert messages[:3] == [
        "it cannot be read: No such file or directory",
        "it cannot be read: Is a directory",
        f"it has more than {FILE_MAX} bytes, which is what is allowed",
    ]
    assert len(messages) == 4


def test_files_are_checked_together(tmp_path: Path) -> None:
    one, other = tmp_path / "one.toml", tmp_path / "other.toml"
    one.write_text('set.name = "s"\n[process]\na = {command = "x", log = "l"}\nb = {command = "x", log = "./l"}')
    other.write_text('set.name = "s"\nprocess.a.command = "y"')
    with pytest.raises(SpecFaults) as caught:
        read(one, other)
    assert [str(fault) for fault in caught.value.faults] == [
        f"{one}: process.b.log: {tmp_path}/l is the log of a, too",
        f"{other}: set.name: 's' is the name of the set in {one}, too",
        f"{other}: process.a: there is a process of that name in {one}, too",
    ]
    assert str(caught.value).count("\n") == 2


VALUES = st.recursive(
    st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["5s", "10M", "TERM", "always"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "process",
                    "set",
                    "name",
                    "argv",
                    "stop",
                    "wait",
                    "signal",
                    "kill",
                    "restart",
                    "policy",
                    "log",
                    "path",
                    "env",
                    "ready",
                    "x",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(VALUES, VALUES)
def test_no_document_is_too_strange(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, one: Any, other: Any) -> None:
    """There are specs or faults, and nothing else."""
    (tmp_path / "x.toml").touch()
    with monkeypatch.context() as patch:
        patch.setattr(tomllib, "loads", lambda text: {"process": {"x": one}, "y": other} if other else {"process": one})
        try:
            read(tmp_path / "x.toml", environ=ENVIRON)
        except SpecFaults as error:
            assert error.faults
