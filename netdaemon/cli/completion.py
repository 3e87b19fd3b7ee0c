"""The scripts that make shells complete ndtool's commands, options and processes."""

from __future__ import annotations

import click

from netdaemon.cli import output
from netdaemon.cli.main import COMPLETE_VARIABLE


@click.command(short_help="Print a completion script for a shell.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that makes SHELL complete ndtool: commands, options, processes.

    \b
    bash: echo 'eval "$(ndtool completion bash)"' >> ~/.bashrc
    zsh:  echo 'eval "$(ndtool completion zsh)"' >> ~/.zshrc
    fish: ndtool completion fish > ~/.config/fish/completions/ndtool.fish
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None
    complete = found(context.find_root().command, {}, "ndtool", COMPLETE_VARIABLE)
    # Not source(): for bash it runs bash to see its version, and the script is the same.
    output.write(complete.source_template % complete.source_vars())
