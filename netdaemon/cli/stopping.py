"""stop and restart: by the steps that were declared, told as they are taken."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from netdaemon.cli import output
from netdaemon.cli.choosing import choice_of, choose, document, is_over, processes_argument
from netdaemon.cli.declaring import StopStep
from netdaemon.cli.options import json_option, reach_of, seconds_option

if TYPE_CHECKING:
    from netdaemon.cli.choosing import Chosen
    from netdaemon.cli.jobs import Asking, Job
    from netdaemon.wire.answers import Happened
    from netdaemon.wire.specs import Step
    from netdaemon.wire.told import ProcessRecord

verbose_option = click.option(
    "-v", "--verbose", is_flag=True, help="Tell each step as it is taken, on a line of its own on standard error."
)


@click.command(short_help="Stop processes.")
@processes_argument
@click.option("--now", is_flag=True, help="SIGKILL to it and all that descends from it, at once.")
@click.option(
    "--step",
    "steps",
    multiple=True,
    type=StopStep(),
    metavar="STEP",
    help="Take these steps in place of its own, one after the other, as for start --stop.",
)
@seconds_option("Give up waiting after this, with exit code 124; the stop goes on.")
@verbose_option
@json_option
@click.pass_context
def stop(
    context: click.Context,
    words: tuple[str, ...],
    labels: tuple[str, ...],
    all_: bool,
    now: bool,
    steps: tuple[Step, ...],
    timeout: float | None,
    verbose: bool,
) -> int:
    """Stop PROCESSes, each by the steps that it was started with: SIGTERM, 10 s and SIGKILL unless those were said.

    They stay stopped: none is started again by itself. Says which step was the one that worked. What does not run is
    stopped already, and that is as good. All are stopped at the same time.
    """
    from netdaemon.cli.jobs import carry_out
    from netdaemon.cli.progress import Progress
    from netdaemon.wire.specs import Step, check_steps

    if now and steps:
        raise click.UsageError("--now is a step of its own, and --step says others", context)
    if steps:
        check_steps(steps, "--step")
    reach = reach_of(context)
    choice = choice_of(context, words, labels, all_)
    told: list[output.Plain] = []

    def done(job: Job) -> None:
        if reach.json:
            told.append({**output.plain(job.answer), "seconds": round(job.seconds, 3)})
        else:
            output.write(f"{output.visible(job.chosen.called)}: {_stopped(job)}\n")

    with reach.connect() as client:
        targets, code = choose(client, choice, as_json=reach.json, useful=lambda record: not is_over(record))
        if targets:
            failed = carry_out(
                client,
                targets,
                lambda one: _stop(one, (Step(kill=True),) if now else steps or None, now=now),
                progress=Progress(as_json=reach.json, verbose=verbose),
                doing=_doing,
                done=done,
                timeout=timeout,
                not_yet="has not stopped",
                as_json=reach.json,
            )
            code = failed or code
    if reach.json and (told or not choice.single):
        output.write(document(choice, told))
    return code


def _stop(one: Chosen, steps: tuple[Step, ...] | None, *, now: bool = False) -> Asking:
    from netdaemon.errors import AlreadyExited
    from netdaemon.wire.commands import Kill, Stop
    from netdaemon.wire.records import Scope, State
    from netdaemon.wire.specs import Step

    killed = False
    if now and one.record.state is State.STOPPING:
        # A stop that has begun is joined, and its steps may take their time.
        try:
            yield Kill(process=one.id, signal=9, scope=Scope.TREE)
            killed = True
        except AlreadyExited:
            pass
    answer = yield Stop(process=one.id, steps=steps)
    if killed and answer.already:
        # It was quick to die of it.
        return replace(answer, already=False, step=str(Step(kill=True)))
    return answer


def _stopped(job: Job) -> str:
    from netdaemon.wire.records import State

    if job.answer.already:
        waited = job.chosen.record.state is State.BACKOFF
        return "stopped; it was waiting to be started again" if waited else "already stopped"
    return f"stopped by {output.visible(job.answer.step)} after {job.seconds:.1f} s"


@click.command(short_help="Restart processes.")
@processes_argument
@click.option("--no-wait", is_flag=True, help="Come back once its program is executed, and not when it is ready.")
@seconds_option("Give up waiting after this, with exit code 124; the restart goes on.")
@verbose_option
@json_option
@click.pass_context
def restart(
    context: click.Context,
    words: tuple[str, ...],
    labels: tuple[str, ...],
    all_: bool,
    no_wait: bool,
    timeout: float | None,
    verbose: bool,
) -> int:
    """Stop PROCESSes, each by its own steps, and start them again; what does not run is started.

    Comes back when each of them runs and is ready. All are restarted at the same time.
    """
    from netdaemon.cli.jobs import carry_out
    from netdaemon.cli.progress import Progress

    reach = reach_of(context)
    choice = choice_of(context, words, labels, all_)
    told: list[output.Plain] = []

    def done(job: Job) -> None:
        if reach.json:
            told.append(output.plain(job.answer))
        else:
            output.write(f"{output.visible(job.chosen.called)}: {_restarted(job)}\n")

    with reach.connect() as client:
        targets, code = choose(client, choice, as_json=reach.json)
        if targets:
            failed = carry_out(
                client,
                targets,
                lambda one: _restart(one, wait=not no_wait),
                progress=Progress(as_json=reach.json, verbose=verbose),
                doing=_doing,
                done=done,
                timeout=timeout,
                not_yet="does not run again" if no_wait else "is not ready",
                as_json=reach.json,
            )
            code = failed or code
    if reach.json and (told or not choice.single):
        output.write(document(choice, told))
    return code


def _restart(one: Chosen, *, wait: bool) -> Asking:
    from netdaemon.errors import WrongGeneration
    from netdaemon.wire.commands import Again, Inspect, Wait
    from netdaemon.wire.records import State, Until

    try:
        answer = yield Again(process=one.id, generation=one.record.generation)
    except WrongGeneration:
        # It was started anew after we were asked to: by us, if the first answer was lost, or else it has just been.
        answer = yield Inspect(process=one.id)
    record: ProcessRecord = answer.process
    if wait and record.state is not State.RUNNING:
        record = (yield Wait(process=one.id, for_=Until.RUNNING)).process
    return record


def _restarted(job: Job) -> str:
    record: ProcessRecord = job.answer
    runs = f"{record.state.value} again" + ("" if record.pid is None else f" as pid {record.pid}")
    return f"{runs}, generation {record.generation}, after {job.seconds:.1f} s"


def _doing(event: Happened) -> str | None:
    """What an event says of how far it has come."""
    from netdaemon.wire.told import Happening

    record = event.process
    match event.type:
        case Happening.STEP:
            return str(event.detail)
        case Happening.EXITED:
            return f"exited ({output.ending(output.plain(record))})"
        case Happening.STARTED:
            return f"started as pid {record.pid}"
        case Happening.READY | Happening.STOPPING:
            return str(event.type.value)
        case Happening.BACKOFF | Happening.FAILED | Happening.NOT_READY | Happening.NOT_STARTED:
            return str(event.type.value) + ("" if event.detail is None else f": {event.detail}")
    return None
