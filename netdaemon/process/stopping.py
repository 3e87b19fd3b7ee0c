"""The steps of one stop, taken one after the other; survives the daemon's death; knows nothing of what it stops.

What is noted before a step is taken is such that none is taken twice by the next daemon: input has its offset, and what
is repeated of it is dropped; a signal is noted as sent before it is; to wait and to kill again does no harm.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from twisted.logger import Logger

from netdaemon.errors import Refusal
from netdaemon.wire.records import Scope
from netdaemon.wire.specs import Step

# Seconds after the last step in which it may still have worked, where that does not say so itself.
AFTER_LAST = 10.0

_log = Logger()


class Target(Protocol):
    """What is stopped. Whatever is refused is no reason not to go on with the next step."""

    @property
    def stdin_end(self) -> int:
        """The offset of what is typed next."""

    def type(self, text: bytes, at: int) -> None:
        """Type; what is below the end of the input was typed before."""

    def signal(self, number: int, scope: Scope) -> None:
        """Send a signal."""

    def kill_all(self) -> None:
        """Kill it and all that descends from it."""


class Stopping:
    """A stop that is under way.

    :param principal: who wants it.
    :param on_step: called before a step is taken, with what is told of it ("" if it was told before); what `saved`
        gives is to be safe when that returns.
    :param on_over: called when all steps have been taken and it has not exited.
    :ivar worked: the last step that did something, in words.
    """

    def __init__(
        self,
        target: Target,
        clock: Any,
        steps: Sequence[Step],
        principal: str,
        on_step: Callable[[str], None],
        on_over: Callable[[], None],
    ) -> None:
        self.principal = principal
        self.worked = ""
        self.steps = tuple(steps)
        self._target = target
        self._clock = clock
        self._on_step = on_step
        self._on_over = on_over
        self._place = 0
        # Up to which step all has been told.
        self._told = 0
        self._offset: int | None = None
        self._due: int | None = None
        self._timer: Any = None

    @property
    def step(self) -> str:
        """What it is at, in words."""
        return str(self.steps[self._place]) if self._place < len(self.steps) else "the last wait"

    def saved(self) -> dict[str, Any]:
        """For the next daemon."""
        return {
            "principal": self.principal,
            "steps": plain_steps(self.steps),
            "place": self._place,
            "told": self._told,
            "offset": self._offset,
            "due": self._due,
            "worked": self.worked,
        }

    def restore(self, saved: dict[str, Any]) -> None:
        """Be where the daemon before was; `go` goes on."""
        self._place, self._told = saved["place"], saved["told"]
        self._offset, self._due, self.worked = saved["offset"], saved["due"], saved["worked"]

    def go(self) -> None:
        """Take the next steps."""
        while self._place < len(self.steps):
            step = self.steps[self._place]
            if step.wait is not None:
                if self._due is None:
                    self._due = _now() + step.wait * 1000
                self._tell(step)
                self._later(self._waited)
                return
            if step.signal is not None:
                self._act(step)
                self._place += 1
                self._tell(step, before=True)
                self._try(lambda step=step: self._target.signal(step.signal, step.scope or Scope.GROUP))  # type: ignore[misc]
                continue
            if step.stdin is not None and self._offset is None:
                self._offset = self._target.stdin_end
            self._act(step)
            self._tell(step)
            if step.stdin is not None:
                at = self._offset or 0
                self._try(lambda step=step, at=at: self._target.type(step.stdin, at))  # type: ignore[misc]
            else:
                self._try(self._target.kill_all)
            self._offset = None
            self._place += 1
        if self._due is None:
            if self.steps[-1].wait is not None:
                self._over()
                return
            self._due = _now() + int(AFTER_LAST * 1e6)
        self._on_step("")
        self._later(self._over)

    def _act(self, step: Step) -> None:
        self.worked = str(step)

    def _tell(self, step: Step, *, before: bool = False) -> None:
        place = self._place if before else self._place + 1
        told, self._told = self._told, place
        self._on_step(str(step) if told < place else "")

    def _try(self, act: Callable[[], None]) -> None:
        try:
            act()
        except Refusal as refusal:
            _log.warn("a step of a stop was refused: {message}", message=refusal.message)

    def _later(self, call: Callable[[], None]) -> None:
        assert self._due is not None
        self._timer = self._clock.callLater(max(0.0, (self._due - _now()) / 1e6), call)

    def _waited(self) -> None:
        self._timer = self._due = None
        self._place += 1
        self.go()

    def _over(self) -> None:
        self._timer = None
        self._on_over()

    def close(self) -> None:
        """It has exited, or is of no interest any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _now() -> int:
    return time.time_ns() // 1000


def plain_steps(steps: Sequence[Step]) -> list[list[Any]]:
    """Steps as JSON has them."""
    return [
        [
            None if step.stdin is None else step.stdin.hex(),
            step.wait,
            step.signal,
            None if step.scope is None else step.scope.value,
            step.kill,
        ]
        for step in steps
    ]


def steps_of(plain: Sequence[Sequence[Any]]) -> tuple[Step, ...]:
    """The other way round."""
    return tuple(
        Step(
            stdin=None if text is None else bytes.fromhex(text),
            wait=wait,
            signal=signal,
            scope=None if scope is None else Scope(scope),
            kill=kill,
        )
        for text, wait, signal, scope, kill in plain
    )
