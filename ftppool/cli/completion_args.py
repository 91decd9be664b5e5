"""``ftppool completion``: scripts that let shells complete commands and flags."""

from __future__ import annotations

from ftppool.cli.args import Commands, Options, Parser

__all__ = ["add", "run"]


def add(commands: Commands, common: Parser) -> None:
    """Describe the command."""
    completion = commands.add_parser(
        "completion",
        parents=[common],
        help="print a script that lets your shell complete commands and flags",
        description="Prints a completion script. For bash put it into"
        " ~/.local/share/bash-completion/completions/ftppool, for zsh as _ftppool into a directory"
        " of $fpath, for fish into ~/.config/fish/completions/ftppool.fish.",
        allow_abbrev=False,
    )
    completion.add_argument("shell", choices=("bash", "zsh", "fish"), metavar="SHELL",
                            help="bash, zsh or fish")  # fmt: skip


def run(options: Options) -> int:
    """Print the script."""
    from ftppool.cli import completion

    print(completion.script(options.shell), end="")
    return 0
