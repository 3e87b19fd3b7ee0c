"""A table on a terminal, kept up to date until it is left, and the terminal as it was before; decides no rows."""

from __future__ import annotations

import os
import select
import signal
import termios
import time
import tty
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live as Screen
from rich.table import Table
from rich.text import Text

from netdaemon.cli.board import NUMBERS, TITLES, Board
from netdaemon.cli.failure import SIGNALLED, Failure
from netdaemon.cli.signals import Signals
from netdaemon.cli.terminal import RawMode, in_foreground
from netdaemon.errors import NetdaemonError

if TYPE_CHECKING:
    from netdaemon.blocking import Watch
    from netdaemon.cli.waiting import WaitingClient

STDIN = 0

# Those that leave, besides q; Ctrl-C is how people do it.
LEAVING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
OF_TERMINAL = (signal.SIGWINCH, signal.SIGCONT, signal.SIGTSTP)

# Seconds: what comes within them is drawn at once, and so often the times in it go on if nothing comes.
TOGETHER, TICK = 0.05, 1.0

_COLUMNS = dict(zip(TITLES, (10, 4, 7, 5, 3, 5, 4, 3, 2, 5, 4, 7, 8), strict=True))


def _without_size() -> dict[str, str]:
    """The environment, without the size that a terminal had when somebody exported it: this one may be resized."""
    return {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}


class CharacterMode(RawMode):
    """A terminal that gives each key at once and echoes none; signals are still typed, and output is as ever."""

    def enter(self) -> None:
        if self._before is None:
            self._before = termios.tcgetattr(self._descriptor)
        tty.setcbreak(self._descriptor, termios.TCSANOW)


class Live:
    """Shows *board*, kept up to date by what comes on *watch*.

    :param console: where; None: standard output.
    """

    def __init__(self, client: WaitingClient, watch: Watch, board: Board, console: Console | None = None) -> None:
        self._client = client
        self._watch = watch
        self._board = board
        self._console = console or Console(markup=False, highlight=False, emoji=False, _environ=_without_size())
        self._note = ""
        client.say = self._say
        client.leave = "q leaves"
        self._screen = Screen(
            get_renderable=self.render, console=self._console, screen=True, auto_refresh=False, redirect_stderr=False
        )
        self._keys = CharacterMode(STDIN) if os.isatty(STDIN) else None
        self._draw_at = 0.0

    def run(self) -> int:
        """Until it is left; the exit code.

        :raises Failure: the connection is lost for good.
        """
        with Signals((*LEAVING, *OF_TERMINAL)) as signals:
            self._enter()
            try:
                return self._loop(signals)
            finally:
                self._leave()

    def _loop(self, signals: Signals) -> int:
        while True:
            self._take()
            now = time.monotonic()
            if now >= self._draw_at:
                self._screen.refresh()
                self._draw_at = now + TICK
            ready = self._wait(signals)
            if signals.fileno() in ready:
                for number in signals.take():
                    if number in LEAVING:
                        return 0 if number == signal.SIGINT else SIGNALLED + number
                    self._signalled(number, signals)
            if self._client.fileno() in ready or self._client.due == 0:
                self._talk(ready.get(self._client.fileno(), 0))
            if STDIN in ready and self._left():
                return 0

    def _wait(self, signals: Signals) -> dict[int, int]:
        poll = select.poll()
        poll.register(signals.fileno(), select.POLLIN)
        if self._client.fileno() >= 0:
            poll.register(self._client.fileno(), self._client.wanted)
        if self._keys is not None and in_foreground(STDIN):
            poll.register(STDIN, select.POLLIN)
        left = max(0.0, self._draw_at - time.monotonic())
        due = self._client.due
        return dict(poll.poll(int(1000 * (left if due is None else min(left, due)) + 0.999)))

    def _talk(self, ready: int) -> None:
        try:
            self._client.work(ready)
        except NetdaemonError as error:
            raise _gone(error) from error

    def _take(self) -> None:
        came = False
        while (event := self._watch.take()) is not None:
            self._board.put(event)
            came = True
            # Whatever was said of the daemon, it is there.
            self._note = ""
        if came:
            self._draw_at = min(self._draw_at, time.monotonic() + TOGETHER)
        if self._watch.error is not None:
            raise _gone(self._watch.error)
        if self._watch.end is not None:
            raise Failure(f"nothing is told any more: {self._watch.end.reason.value}", word="attachment-ended")

    def _left(self) -> bool:
        """Whether somebody has typed q, or hung up."""
        try:
            typed = os.read(STDIN, 1024)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            return True
        return not typed or b"q" in typed.lower()

    def _signalled(self, number: int, signals: Signals) -> None:
        if number == signal.SIGTSTP:
            self._leave()
            signals.suspend()
            self._enter()
        elif number == signal.SIGCONT:
            # A shell may have set it as it likes it.
            self._take_keys()
        self._draw_at = 0.0

    def _take_keys(self) -> None:
        # Whoever sets a terminal from the background is stopped.
        if self._keys is not None and in_foreground(STDIN):
            self._keys.enter()

    def _enter(self) -> None:
        self._take_keys()
        self._screen.start()

    def _leave(self) -> None:
        self._screen.stop()
        if self._keys is not None:
            self._keys.leave()

    def _say(self, text: str) -> None:
        self._note = text
        self._draw_at = 0.0

    def render(self) -> Table:
        """What is seen: as many rows as there is room for, and a line below them."""
        room = max(1, self._console.size.height - 2)
        rows = self._board.rows()
        left = len(rows) - room
        caption = self._note or (f"{left} more" if left > 0 else "q leaves")
        made = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, expand=True, header_style="bold")
        made.caption, made.caption_justify = Text(caption, style="dim"), "left"
        for place, title in enumerate(TITLES):
            last = place == len(TITLES) - 1
            made.add_column(
                title,
                justify="right" if place in NUMBERS else "left",
                no_wrap=True,
                overflow="ellipsis" if last or title == "NAME" else "crop",
                ratio=1 if last else None,
                min_width=_COLUMNS[title],
            )
        now = time.time()
        for row in rows[:room]:
            made.add_row(*map(Text, row.cells(now)))
        return made


def _gone(error: NetdaemonError) -> Failure:
    told = str(error)
    return Failure(told if told.startswith("the daemon is gone") else f"the daemon is gone: {told}", error=error)
