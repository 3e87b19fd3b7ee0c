"""policy: looking at a file that says who may do what, before a daemon does; asks no daemon."""

from __future__ import annotations

import secrets
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import click

from netdaemon.cli import output
from netdaemon.cli.declaring import LogFile, StopStep
from netdaemon.cli.failure import Failure
from netdaemon.cli.options import SignalNumber, json_option, reach_of
from netdaemon.cli.reach import wire_text
from netdaemon.cli.whom import whom_of, whom_options

if TYPE_CHECKING:
    from netdaemon.apply.faults import Fault
    from netdaemon.policy.explaining import Explanation, Sketch
    from netdaemon.policy.judging import FilePolicy
    from netdaemon.policy.reading import Reading

# Random bytes of a token: nobody guesses so many, and so a plain digest of them is as good as they are.
TOKEN_BYTES = 32

# What explain ends with where the answer is no; that it could not find out is a failure.
DENIED = 1


@click.group(short_help="Look at a file that says who may do what.", invoke_without_command=True)
@click.pass_context
def policy(context: click.Context) -> None:
    """Look at a file that says who may do what (a daemon's --policy), before a daemon does. Asks no daemon."""
    if context.invoked_subcommand is None:
        output.write(context.get_help() + "\n")


@policy.command(short_help="Say what is wrong with a policy.")
@json_option
@click.argument("file", type=click.Path(), metavar="FILE")
@click.pass_context
def check(context: click.Context, file: str) -> int:
    """Say all that is wrong with the policy in FILE, and what is probably not meant.

    The exit code is 0 if a daemon would take it; what is only doubtful is told, too, and does not count.
    """
    found = _read(file)
    if reach_of(context).json:
        output.write(output.json_text({"file": file, "faults": [], "doubts": [_plain(one) for one in found.doubts]}))
        return 0
    for one in found.doubts:
        output.write(output.visible(f"doubtful: {one}") + "\n")
    rules = found.rules
    counts = (("role", rules.roles), ("binding", rules.bindings), ("denial", rules.denials), ("token", rules.tokens))
    output.write("good: " + ", ".join(_many(word, len(items)) for word, items in counts) + "\n")
    return 0


def _many(word: str, count: int) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def _read(file: str) -> Reading:
    from netdaemon.policy.reading import PolicyFaults
    from netdaemon.policy.reading import read as read_policy

    try:
        # Whose file it is matters where a daemon reads it.
        return read_policy(file, guarded=False)
    except PolicyFaults as error:
        lines = tuple(map(str, error.faults))
        many = "1 fault" if len(lines) == 1 else f"{len(lines)} faults"
        raise Failure(f"{many} found; no daemon would take it:", error=error, detail=lines) from error


def _plain(fault: Fault) -> output.Plain:
    return {"place": fault.place, "line": fault.line, "column": fault.column, "message": fault.message}


@policy.command(short_help="Make a token.")
@json_option
@click.argument("name", metavar="NAME")
@click.pass_context
def token(context: click.Context, name: str) -> None:
    """Make a token: print it, for whoever is to show it, and the line for the table [tokens], which is not secret."""
    from netdaemon.errors import BadRequest
    from netdaemon.wire.records import check_name

    try:
        check_name("NAME", name)
    except BadRequest as error:
        raise click.UsageError(error.message, context) from error
    made = secrets.token_urlsafe(TOKEN_BYTES)
    digest = "sha256:" + sha256(made.encode()).hexdigest()
    if reach_of(context).json:
        output.write(output.json_text({"name": name, "token": made, "digest": digest}))
        return
    # Names with a dot or a colon have to be quoted, and all others may be.
    output.write(f'{made}\n"{name}" = "{digest}"\n')


@policy.command(short_help="Say why something is allowed, or is not.")
@click.option("--policy", "file", required=True, type=click.Path(), metavar="FILE", help="The policy.")
@click.option(
    "--as",
    "who",
    required=True,
    metavar="WHOM",
    help="Who asks: uid:1000,gid:100 or user:alice, token:NAME, tls:sha256:HEX,san:dns:NAME; with commas.",
)
@click.option("--daemon", metavar="USER", default="0", show_default=True, help="As whom the daemon runs.")
@click.option("--name", metavar="NAME", help="The process's name.")
@click.option("--label", "labels", multiple=True, metavar="K=V", help="A label of it; many are possible.")
@click.option("--owner", metavar="WHOM", help="Who started it, as uid:1000. Default: whoever asks.")
@click.option("--tenant", metavar="TENANT", help="Whose it is. For start, it is found out.")
@click.option("--signal", type=SignalNumber(), metavar="SIGNAL", help="The signal to be sent.")
@whom_options
@click.option("-e", "--env", multiple=True, metavar="K[=V]", help="A variable that is set.")
@click.option("--cwd", default="/", show_default=True, metavar="DIR", help="Where it runs.")
@click.option("--log", type=LogFile(), metavar="PATH", help="The file that its output goes to.")
@click.option("--stop", "steps", multiple=True, type=StopStep(), metavar="STEP", help="A step of its stop.")
@json_option
@click.argument("verb", metavar="VERB")
@click.argument("argv", nargs=-1, metavar="[-- PROGRAM [ARG]...]")
@click.pass_context
def explain(context: click.Context, /, file: str, who: str, verb: str, daemon: str, **said: Any) -> int:
    """Say whether somebody may do VERB, by the policy in FILE, and what each of its rules has to do with it.

    VERB is one of list, inspect, events, attach.read, attach.write, attach.hold, start, signal, stop, remove,
    policy.reload and shutdown. What it is done to is said by --name, --label, --owner and --tenant; start with a
    PROGRAM is a new process, and without one a change or new start of an old one. How it is to run is said as for
    ndtool start.

    The exit code is 0 if it is allowed, and 1 if it is denied.
    """
    from netdaemon.declared import declared
    from netdaemon.errors import BadRequest
    from netdaemon.policy.accounts import Numbers, own_groups, uid_of
    from netdaemon.policy.explaining import explain as explain_it
    from netdaemon.policy.explaining import principal_of
    from netdaemon.policy.judging import FilePolicy
    from netdaemon.policy.verbs import Verb

    words = {one.value: one for one in Verb}
    if verb not in words:
        raise click.UsageError(f"{verb!r} is no verb; there are {', '.join(words)}", context)
    if said["argv"] and verb != "start":
        raise click.UsageError("a program is given, and only start has one", context)
    rules = _read(file).rules
    try:
        principal = principal_of(who)
        uid = uid_of(daemon)
        gids = own_groups(uid) or (uid,)
        judged_by = FilePolicy(rules, Numbers(uid, gids[0], gids[1:]))
        subject = _subject(judged_by, str(principal), {**said, **declared(whom_of(context, said))})
        spec = subject if said["argv"] else None
        found = explain_it(judged_by, principal, words[verb], subject, said["signal"], spec)
    except (LookupError, ValueError) as error:
        raise Failure(str(error.args[0]), word="bad-usage") from error
    except BadRequest as error:
        raise Failure(error.message, error=error) from error
    _tell(found, verb, reach_of(context).json)
    return 0 if found.decision.allowed else DENIED


def _subject(judged_by: FilePolicy, who: str, said: dict[str, Any]) -> Sketch | None:
    """What the options say that it is done to; None: they say nothing."""
    from netdaemon.policy.explaining import Sketch
    from netdaemon.policy.judged import TENANT_LABEL

    labels = tuple(said["labels"]) + (() if said["tenant"] is None else (TENANT_LABEL + said["tenant"],))
    owner = who if said["owner"] is None else said["owner"]
    argv = tuple(map(wire_text, said["argv"]))
    if not argv:
        if said["name"] is None and said["owner"] is None and not labels:
            return None
        return Sketch(name=said["name"], labels=labels, owner=owner)
    return _start(judged_by, said, name=said["name"], labels=labels, owner=owner, argv=argv)


def _start(judged_by: FilePolicy, said: dict[str, Any], **known: Any) -> Sketch:
    from netdaemon.policy.accounts import account_of
    from netdaemon.policy.explaining import Sketch
    from netdaemon.wire.whom import RunAs

    run_as = said["run_as"] or RunAs()
    return Sketch(
        **known,
        env=tuple(one if "=" in one else one + "=" for one in map(wire_text, said["env"])),
        cwd=wire_text(said["cwd"]),
        stop=tuple(said["steps"]) or None,
        log=said["log"],
        run_as=run_as,
        limits=said["limits"],
        cgroup=said["cgroup"],
        sandbox=said["sandbox"],
        account=account_of(run_as.user, run_as.group, run_as.groups, judged_by.own),
    )


def _tell(found: Explanation, verb: str, as_json: bool) -> None:
    decision = found.decision
    if as_json:
        steps = [{"rule": one.rule, "held": one.held, "words": list(one.words)} for one in found.steps]
        told = {"who": found.who, "verb": verb, "allowed": decision.allowed, "why": decision.why, "rule": decision.rule}
        output.write(output.json_text({**told, "steps": steps}))
        return
    for step in found.steps:
        first, *more = step.words
        output.write(output.visible(f"{'+' if step.held else '-'} {step.rule}: {first}") + "\n")
        for one in more:
            output.write(output.visible(f"    {one}") + "\n")
    output.write(output.visible(f"{'allowed' if decision.allowed else 'denied'}: {decision.why}") + "\n")
