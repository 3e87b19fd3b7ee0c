"""docs/protocol.rst says what the library does: its bytes, its fields, its numbers and its words."""

from __future__ import annotations

import errno
import re
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

from netdaemon import errors, patterns
from netdaemon.errors import Refusal
from netdaemon.keeper.becoming import STAGES
from netdaemon.wire import answers, box, commands, frame, layout, records, specs, told, v1, whom
from netdaemon.wire.answers import Attached, End, Ok, Output, Status, Taken, Welcome
from netdaemon.wire.client import ClientConnection
from netdaemon.wire.commands import Data, Detach, Hello, Start
from netdaemon.wire.fields import BOOLEAN, INTEGER, OCTETS, TEXT, Field, array
from netdaemon.wire.records import Reason, State
from netdaemon.wire.server import ServerConnection
from netdaemon.wire.told import ProcessRecord
from tests.wire.support import attached, from_hex

DOCUMENT = (Path(__file__).parents[2] / "docs" / "protocol.rst").read_text(encoding="utf-8")

TITLE = re.compile(r"^(?P<title>\S.*)\n(?P<rule>([=~-])\3+)$", re.MULTILINE)
DEPTH = "=-~"


def sections() -> dict[str, str]:
    """The text below each title, up to the next title of its own or of a higher kind."""
    # The document's own title has a rule above it, too; a table's rule has spaces in it or stands below no title.
    found = [match for match in TITLE.finditer(DOCUMENT) if len(match["rule"]) >= len(match["title"])]
    texts = {}
    for place, match in enumerate(found):
        depth = DEPTH.index(match["rule"][0])
        ends = (later.start() for later in found[place + 1 :] if DEPTH.index(later["rule"][0]) <= depth)
        texts[match["title"]] = DOCUMENT[match.end() : next(ends, len(DOCUMENT))]
    return texts


SECTIONS = sections()


def literal_blocks(text: str) -> list[str]:
    """What stands indented after each ``::``."""
    return re.findall(r"::\n\n((?:    .*\n|\n(?=    ))+)", text + "\n")


def conversation(version: int) -> list[tuple[str, str, bytes]]:
    """Who sends, what it is called, and its bytes."""
    steps = []
    for block in literal_blocks(SECTIONS[f"A conversation in version {version}"]):
        match = re.match(r" *# (client|daemon): ([A-Z]+)\n", block)
        assert match is not None, block
        steps.append((match[1], match[2], from_hex(block)))
    return steps


# --- bytes ---

BEGUN = 1700000000000000
CAT = ProcessRecord(
    id="snpbspx7hk",
    state=State.RUNNING,
    argv=("/bin/cat",),
    owner="uid:1000",
    pid=4242,
    created=BEGUN,
    started=BEGUN + 967,
    attached=1,
    keep=1 << 20,
)
WELCOME = Welcome(server="netdaemon/0.1.0", instance="558de7f2a5d762ff", principal="uid:1000")
HELLO = b"hello\n"

VERSION_2 = [
    ("client", Hello(client="example")),
    ("daemon", WELCOME),
    ("client", Start(argv=("/bin/cat",), attach=True)),
    ("daemon", Attached(process=CAT)),
    ("client", Data(to=2, at=0, payload=HELLO)),
    ("daemon", Taken(accepted=6, end=6)),
    ("daemon", Output(channel=1, offset=0, time=BEGUN + 5000, payload=HELLO)),
    ("client", Data(to=2)),
    ("daemon", Taken(accepted=0, end=6)),
    ("daemon", Output(channel=0, offset=6, time=BEGUN + 9000)),
    ("daemon", Output(channel=1, offset=6, time=BEGUN + 9577)),
    ("daemon", Output(channel=2, offset=6, time=BEGUN + 9670)),
    ("daemon", Status(state=State.EXITED, code=0, end=6)),
    ("client", Detach(to=2)),
    ("daemon", Ok()),
    ("daemon", End(reason=Reason.DETACHED)),
]
VERSION_1 = [
    ("client", Hello()),
    ("daemon", WELCOME),
    ("client", Start(argv=("/bin/cat",), env=(), attach=True)),
    ("daemon", Attached(process=CAT)),
    ("client", Data(to=2, payload=HELLO)),
    ("daemon", Taken(accepted=6, end=6)),
    ("daemon", Output(channel=1, payload=HELLO)),
    ("client", Data(to=2)),
    ("daemon", Taken(accepted=0, end=6)),
    ("daemon", Output(channel=1, offset=6)),
    ("daemon", Output(channel=2, offset=6)),
    ("daemon", Status(state=State.EXITED, code=0)),
]
# What a client of version 1 makes of what it is told.
VERSION_1_READ = {
    WELCOME: Welcome(window=0),
    Attached(process=CAT): Attached(
        process=ProcessRecord(id="snpbspx7hk", argv=("snpbspx7hk",), state=State.RUNNING, pid=4242)
    ),
}
NAMES = {"Welcome": "HELLO", "Taken": "OK", "Output": "DATA"}


@pytest.mark.parametrize(("version", "said"), [(2, VERSION_2), (1, VERSION_1)])
def test_the_conversations(version: int, said: list[tuple[str, Any]]) -> None:
    """The library writes the bytes of the page, and reads them."""
    written = conversation(version)
    assert len(written) == len(said)
    client, server = ClientConnection(version=version), ServerConnection()
    asked = 0
    for (sender, name, octets), (who, message) in zip(written, said, strict=True):
        assert sender == who
        assert name == NAMES.get(type(message).__name__, type(message).__name__.upper())
        if who == "client":
            if isinstance(message, Hello):
                asked, sent = 1, client.hello(message)
            else:
                asked, sent = client.request(message)
            assert sent == octets
            server.receive(octets)
            assert server.next_request() == (asked, message)
            continue
        id = 2
        if isinstance(message, Welcome):
            id, sent = asked, server.welcome(asked, message)
        elif isinstance(message, answers.Reply):
            id, sent = asked, server.reply(asked, message)
        else:
            sent = server.event(id, message)
        assert sent == octets
        client.receive(octets)
        read = VERSION_1_READ.get(message, message) if version == 1 else message
        assert client.next_message() == (id, read)
    assert not client.unfinished
    assert not server.unfinished


def test_the_aborts() -> None:
    before, after = (from_hex(block) for block in literal_blocks(SECTIONS["ABORT"]))
    assert before == ServerConnection().abort(errno.EBADMSG, "no")
    assert after == attached(2)[1].abort(errno.EBADMSG, "no")


def test_the_box() -> None:
    example = literal_blocks(SECTIONS["Boxes"])[1]
    assert from_hex(example) == box.encode_box([(b"process", TEXT.encode("web")), (b"signal", INTEGER.encode(15))])


VALUES: dict[str, tuple[Field[Any], Any]] = {
    "integer 258": (INTEGER, 258),
    "integer -1": (INTEGER, -1),
    "boolean true": (BOOLEAN, True),
    "boolean false": (BOOLEAN, False),
    'text "caf\u00e9"': (TEXT, "caf\u00e9"),
    "octets": (OCTETS, b"\x00\xff"),
    'array of text: "foo", "", "ok"': (array(TEXT), ("foo", "", "ok")),
    "array of integer: 1, 2": (array(INTEGER), (1, 2)),
}


def test_the_values() -> None:
    (block,) = literal_blocks(SECTIONS["Field types"])
    lines = dict(reversed(line.strip().split("  # ")) for line in block.splitlines())
    assert {what: bytes.fromhex(octets) for what, octets in lines.items()} == {
        what: field.encode(value) for what, (field, value) in VALUES.items()
    }


def test_all_examples_are_checked() -> None:
    """A block with bytes in it that no test above reads would go stale."""
    checked = ["ABORT", "Boxes", "Field types", "A conversation in version 1", "A conversation in version 2"]
    with_bytes = [block for block in literal_blocks(DOCUMENT) if "#" in block]
    assert len(with_bytes) == sum("#" in block for title in checked for block in literal_blocks(SECTIONS[title]))


# --- fields ---

TYPES = ("integer", "boolean", "text", "octets", "record", "array of text", "array of integer", "array of record")
ROW = re.compile(rf"^``(\w+)`` +({'|'.join(sorted(TYPES, key=len, reverse=True))})(?:  +(.*))?$", re.MULTILINE)

# Which declarations the tables below each title are about.
TABLES: dict[str, tuple[type[Any], ...]] = {
    "ABORT": (answers.Abort,),
    "HELLO (0x0001)": (commands.Hello, answers.Welcome),
    "START (0x0101)": (commands.Start, records.Pty, answers.Started),
    "ATTACH (0x0102)": (commands.Attach,),
    "ATTACHED (0x0110)": (answers.Attached,),
    "LIST (0x0103)": (commands.List, answers.Listing),
    "DETACH (0x0104)": (commands.Detach,),
    "INSPECT (0x0105)": (commands.Inspect, answers.OfProcess),
    "REMOVE (0x0106)": (commands.Remove,),
    # Its reply is OfProcess, told in a sentence; so is that of RESTART.
    "WAIT (0x0107)": (commands.Wait,),
    "WATCH (0x0108)": (commands.Watch, answers.Watching),
    "CHANGE (0x0109)": (commands.Change, answers.Changed),
    "PRUNE (0x010a)": (commands.Prune, answers.Pruned),
    "DATA (0x0201)": (commands.Data, answers.Taken),
    "KILL (0x0203)": (commands.Kill,),
    "RESIZE (0x0204)": (commands.Resize,),
    "FLOW (0x0206)": (commands.Flow,),
    "STOP (0x0209)": (commands.Stop, answers.Stopped),
    "RESTART (0x020a)": (commands.Again,),
    "INFO (0x0301)": (commands.Info, answers.DaemonInfo, records.Limits, records.Counts),
    "RELOAD (0x0302)": (commands.Reload,),
    "SHUTDOWN (0x0303)": (commands.Shutdown,),
    "OK (0xff00)": (answers.Ok,),
    "ERROR (0xfff0)": (answers.Failure,),
    "DATA (0x0201), the event": (answers.Output,),
    "STATUS (0x0202)": (answers.Status,),
    "GAP (0x0205)": (answers.Gap,),
    "EVENT (0x0207)": (answers.Happened,),
    "END (0x0208)": (answers.End,),
    "The process record": (told.ProcessRecord,),
    "The record step": (specs.Step,),
    "The record restart": (specs.Restart,),
    "The record ready": (specs.Ready,),
    "The record log": (specs.Log,),
    "The record run_as": (whom.RunAs,),
    "The record sandbox": (whom.Sandbox,),
    "The record logged": (told.Logged,),
    "The record stats": (told.Stats,),
}


def test_no_declaration_is_missing() -> None:
    declared = {declaration for declarations in TABLES.values() for declaration in declarations}
    messages = {*commands.REQUESTS.values(), *answers.EVENTS.values()}
    messages |= {reply for request in commands.REQUESTS.values() for reply in request.replies}
    messages |= {answers.Failure, answers.Abort}
    in_records = {records.Pty, records.Limits, records.Counts, told.ProcessRecord, told.Logged, told.Stats}
    in_records |= {specs.Step, specs.Restart, specs.Ready, specs.Log, whom.RunAs, whom.Sandbox}
    assert declared == messages | in_records


@pytest.mark.parametrize("title", TABLES)
def test_the_fields(title: str) -> None:
    """Each with its type, in the order in which they are declared; none missing, none invented."""
    written = [(key, type_) for key, type_, _ in ROW.findall(SECTIONS[title])]
    declared = [(slot.key.decode(), slot.field.name) for one in TABLES[title] for slot in layout.layout(one).slots]
    assert written == declared


@pytest.mark.parametrize("title", TABLES)
def test_the_required_fields(title: str) -> None:
    """Of requests; which fields of a record must be there is said in other words."""
    required = {
        slot.key.decode()
        for one in TABLES[title]
        if issubclass(one, commands.Request)
        for slot in layout.layout(one).slots
        if slot.required
    }
    written = {key for key, _, meaning in ROW.findall(SECTIONS[title]) if meaning.startswith("**Required.**")}
    assert written == required


def meanings(title: str) -> dict[str, str]:
    """What the tables below a title say of each field."""
    rows = re.findall(r"^``(\w+)`` +(?:\w+ )*\w+  +((?:.|\n(?!``|==))*)", SECTIONS[title], re.MULTILINE)
    return {key: " ".join(meaning.split()) for key, meaning in rows}


@pytest.mark.parametrize(
    "declaration",
    [specs.Step, specs.Restart, specs.Ready, specs.Log, whom.RunAs, whom.Sandbox],
    ids=lambda one: one.__name__,
)
def test_the_fields_of_records_that_must_be_there(declaration: type[Any]) -> None:
    (title,) = (title for title, one in TABLES.items() if one == (declaration,))
    slots = layout.layout(declaration).slots
    written = meanings(title)
    assert {slot.key.decode() for slot in slots} <= set(written)
    required = {slot.key.decode() for slot in slots if slot.required}
    assert {key for key, meaning in written.items() if meaning.endswith("Must be there.")} == required


@pytest.mark.parametrize(
    ("title", "key", "default"),
    [
        (title, slot.key.decode(), slot.default)
        for title, declaration in (
            ("The record restart", specs.Restart),
            ("The record log", specs.Log),
            ("The record sandbox", whom.Sandbox),
        )
        for slot in layout.layout(declaration).slots
        if not slot.required and slot.default is not None
    ],
)
def test_the_defaults(title: str, key: str, default: Any) -> None:
    """What a field is that is left out."""
    words = {(0,): "0 alone", (): "None"}
    value = words.get(default) or (f"{default:,}" if type(default) is int else str(default))
    assert meanings(title)[key].endswith(f" {value} if left out.")


# --- numbers and words ---


def test_the_commands() -> None:
    """Their numbers, and the versions in which they exist."""
    rows = re.findall(
        r"^(0x[0-9a-f]{4})  +([A-Z]+) +(1, 2|2)$",
        SECTIONS["HELLO and the choice of a version"],
        re.MULTILINE,
    )
    written = {(int(number, 16), name): versions for number, name, versions in rows}
    in_version_1 = {
        declaration.command for declaration in (*v1._ENCODE_REQUEST, *v1._ENCODE_ANSWER) if declaration is not Taken
    }
    declared = {request.command: request.__name__.upper() for request in commands.REQUESTS.values()}
    declared |= {event.command: event.__name__.upper() for event in answers.EVENTS.values() if event is not Output}
    # What a number is called for a client, where the library has another word.
    declared |= {commands.Again.command: "RESTART", answers.Happened.command: "EVENT"}
    declared |= {0x0110: "ATTACHED", 0xFF00: "OK", 0xFFF0: "ERROR", 0xFFFF: "ABORT"}
    assert written == {(number, name): "1, 2" if number in in_version_1 else "2" for number, name in declared.items()}


def test_the_commands_of_version_1() -> None:
    rows = re.findall(r"^(0x[0-9a-f]{4})  ([A-Z]+)", SECTIONS["Version 1"], re.MULTILINE)
    numbers = {declaration.command for declaration in (*v1._ENCODE_REQUEST, *v1._ENCODE_ANSWER)}
    assert {int(number, 16) for number, _ in rows} == numbers
    assert len(rows) == len(numbers)


def test_the_error_codes() -> None:
    rows = re.findall(r"^``([a-z-]+)`` +(E[A-Z]+) +(\d+)  ", SECTIONS["Error codes"], re.MULTILINE)
    declared = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, Refusal) and one.code]
    assert [(code, int(number)) for code, _, number in rows] == [(one.code, one.default_errno) for one in declared]
    assert all(getattr(errno, name) == int(number) for _, name, number in rows)


@pytest.mark.parametrize("title", TABLES)
def test_the_errors_of_requests_exist(title: str) -> None:
    for line in re.findall(r"^Errors: ((?:.|\n(?=.))*)", SECTIONS[title], re.MULTILINE):
        codes = {code for code in re.findall(r"``([a-z-]+)``", line) if code != "after"}
        assert codes
        assert codes <= {
            one.code for one in vars(errors).values() if isinstance(one, type) and issubclass(one, Refusal)
        }


@pytest.mark.parametrize(
    ("title", "words"),
    [
        ("States", records.State),
        ("KILL (0x0203)", records.Scope),
        ("WAIT (0x0107)", records.Until),
        ("END (0x0208)", records.Reason),
        ("SHUTDOWN (0x0303)", records.Fate),
        ("EVENT (0x0207)", told.Happening),
        ("The record restart", specs.Policy),
        ("The record sandbox", whom.Profile),
    ],
)
def test_the_words(title: str, words: type[Enum]) -> None:
    for word in words:
        assert f"``{word.value}``" in SECTIONS[title]


@pytest.mark.parametrize(
    ("title", "words"),
    [
        ("States", records.State),
        ("END (0x0208)", records.Reason),
        ("EVENT (0x0207)", told.Happening),
        ("The record restart", specs.Policy),
    ],
)
def test_the_tables_of_words(title: str, words: type[Enum]) -> None:
    """Each has a line, in the order in which they are declared."""
    table = re.search(r"^word +meaning\n=+ .*\n((?:.+\n)*?)=", SECTIONS[title], re.MULTILINE)
    assert table is not None
    assert re.findall(r"^``([a-z-]+)``", table[1], re.MULTILINE) == [word.value for word in words]


def test_the_capabilities() -> None:
    """In the order of their numbers."""
    (text,) = re.findall(r"^The words of ``capabilities`` ((?:.|\n(?=.))*)", DOCUMENT, re.MULTILINE)
    assert tuple(re.findall(r"``([a-z_]+)``", text)) == whom.CAPABILITIES


def test_the_names_of_limits() -> None:
    text = SECTIONS["Limits of a process"]
    (names,) = re.findall(r"^In ``limits`` the name is one of ((?:.|\n(?=.))*?), as for", text, re.MULTILINE)
    assert re.findall(r"``([a-z]+)``", names) == list(whom.LIMITS)
    assert re.findall(r"^``([a-z.]+)``  ", text, re.MULTILINE) == list(whom.CGROUP)


@pytest.mark.parametrize("stage", sorted({*STAGES, "spool", "cgroup", "sandbox"}))
def test_the_stages(stage: str) -> None:
    assert f"``{stage}``" in meanings("ERROR (0xfff0)")["stage"]


def test_steps_in_words() -> None:
    """Those that the page quotes are told so."""
    steps = (
        specs.Step(stdin=b"quit\n"),
        specs.Step(wait=10_000),
        specs.Step(signal=15),
        specs.Step(signal=2, scope=records.Scope.TREE),
    )
    quoted = re.findall(r"``((?:stdin|wait|signal) [^`]+)``", DOCUMENT)
    assert set(quoted) == set(map(str, steps))


@pytest.mark.parametrize(
    ("title", "number"),
    [
        ("Limits and timeouts", frame.MESSAGE_HEAD),
        ("Limits and timeouts", frame.GREETING_LIMIT),
        ("Limits and timeouts", frame.MAX_MESSAGE),
        ("Limits and timeouts", frame.MAX_PACKET),
        ("Limits and timeouts", box.MAX_KEY),
        ("Limits and timeouts", answers.WINDOW),
        ("START (0x0101)", commands.KEEP),
        ("START (0x0101)", commands.KEEP_MIN),
        ("START (0x0101)", commands.KEEP_MAX),
        ("START (0x0101)", records.MAX_LABELS),
        ("START (0x0101)", records.MAX_LABEL_VALUE),
        ("START (0x0101)", records.TERMINAL_MAX),
        ("LIST (0x0103)", commands.LIST_LIMIT),
        ("KILL (0x0203)", commands.SIGNAL_MAX),
        ("START (0x0101)", commands.RECORD_WORDS_MAX),
        ("START (0x0101)", commands.KEY_MAX),
        ("START (0x0101)", specs.STEPS_MAX),
        ("START (0x0101)", specs.WATCHDOG_MIN),
        ("START (0x0101)", specs.WAIT_MAX),
        ("WATCH (0x0108)", commands.STATS_MIN),
        ("WATCH (0x0108)", commands.STATS_MAX),
        ("STOP (0x0209)", specs.STEPS_MAX),
        ("The record run_as", whom.GROUPS_MAX),
        ("The record run_as", whom.UMASK_MAX),
        ("The record run_as", whom.NICE_MIN),
        ("The record run_as", whom.NICE_MAX),
        ("The record run_as", whom.OOM_MIN),
        ("The record run_as", whom.OOM_MAX),
        ("Limits of a process", whom.LIMIT_MAX),
        ("Limits of a process", whom.CPU_PERIOD),
        ("Limits of a process", whom.CPU_PERIOD_MIN),
        ("Limits of a process", whom.CPU_PERIOD_MAX),
        ("The record sandbox", whom.WRITABLE_MAX),
        ("The record step", specs.STEP_TEXT_MAX),
        ("The record step", specs.STEP_TEXT_TOLD),
        ("The record step", specs.WAIT_MAX),
        ("The record step", specs.SIGNAL_MAX),
        ("The record restart", specs.CODES_MAX),
        ("The record restart", specs.CODE_MAX),
        ("The record restart", specs.WAIT_MAX),
        ("The record restart", specs.BURST_MAX),
        ("The record ready", specs.READY_TEXT_MAX),
        ("The record ready", specs.WAIT_MAX),
        ("The record ready", patterns.LINE),
        ("The record ready", patterns.SIZE_MAX),
        ("The record ready", int(patterns.WITHIN * 1000)),
        ("The record log", specs.LOG_PATH_MAX),
        ("The record log", specs.LOG_SIZE_MIN),
        ("The record log", specs.LOG_SIZE_MAX),
        ("The record log", specs.LOG_AGE_MIN),
        ("The record log", specs.LOG_AGE_MAX),
        ("The record log", specs.LOG_FILES_MAX),
        ("Version 1", v1.MAX_OUTPUT),
        ("Version 1", v1.UNKNOWN_CODE),
    ],
)
def test_the_limits(title: str, number: int) -> None:
    assert re.search(rf"(?<![\d,]){number:,}(?![\d,]\d)", SECTIONS[title])
