"""Where ndtool begins: the quick way for the plain listing, else the commands; and how it ends."""

from __future__ import annotations

import os
import sys

from netdaemon.cli import output, quick

# Set by the shell when it asks for completions.
COMPLETE_VARIABLE = "_NDTOOL_COMPLETE"


def run() -> None:
    """The console script."""
    sys.exit(main(sys.argv[1:]))


def main(arguments: list[str]) -> int:
    """Carry out a command line; the exit code. May end by a signal instead, as the process that it stands for did."""
    _fill_descriptors()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            # A locale that cannot say it is no reason not to say the rest.
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        if COMPLETE_VARIABLE not in os.environ and quick.run(arguments):
            return 0
        from netdaemon.cli.group import carry_out

        return carry_out(arguments)
    except output.NobodyReads:
        from signal import SIGPIPE

        from netdaemon.cli.failure import die_by

        die_by(SIGPIPE)
    except OSError as error:
        from netdaemon.cli.failure import explain

        return explain(error).tell(as_json="--json" in arguments)


def _fill_descriptors() -> None:
    """Open /dev/null where standard input, output or error are closed: what is opened next would take their place."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
