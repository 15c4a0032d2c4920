"""Completion of shells: ``completion``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import shtab

if TYPE_CHECKING:
    import argparse

    from moonlight_core.cli.command import Commands
    from moonlight_core.cli.context import Context

SHELLS = ("bash", "zsh", "fish")


def register(commands: Commands) -> None:
    """Add the commands of this group."""
    completion = commands.add(
        "completion",
        _completion,
        "print the completion of a shell",
        description="Print a script that completes commands and options in bash, zsh or fish.",
        examples=[
            (
                "moonlight completion bash >/usr/share/bash-completion/completions/moonlight",
                "for everybody's bash",
            ),
            (
                "moonlight completion zsh >/usr/share/zsh/site-functions/_moonlight",
                "for everybody's zsh",
            ),
            (
                "moonlight completion fish >~/.config/fish/completions/moonlight.fish",
                "for one's own fish",
            ),
        ],
    )
    completion.add_argument("shell", choices=SHELLS, help="which shell")


def _completion(_context: Context, arguments: argparse.Namespace) -> None:
    from moonlight_core.cli.parser import make_parser  # noqa: PLC0415 - it imports this module

    print(shtab.complete(make_parser(brief=True), shell=arguments.shell))
