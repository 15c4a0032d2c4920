"""The parser; help texts are part of the interface."""

from __future__ import annotations

import argparse

from moonlight_core import __version__
from moonlight_core.cli import (
    completion,
    configuration,
    doctor,
    images,
    looking,
    nodes,
    pairing,
    reap,
    service,
    sessions,
    upkeep,
)
from moonlight_core.cli.command import Commands, common_options
from moonlight_core.cli.exits import MEANINGS

GROUPS = (
    sessions,
    looking,
    pairing,
    images,
    nodes,
    doctor,
    upkeep,
    reap,
    configuration,
    service,
    completion,
)
"""The modules with commands, in the order of the help page."""


def make_parser(*, brief: bool = False) -> argparse.ArgumentParser:
    """The parser of the whole command line.

    Args:
        brief: describe each command by its summary, as completions show it.
    """
    parser = argparse.ArgumentParser(
        prog="moonlight",
        description="GPU desktops as Slurm jobs, streamed by Sunshine to any Moonlight client.",
        epilog="\n".join(
            ["exit codes:", *(f"  {code:>3}  {meaning}" for code, meaning in MEANINGS.items())]
        ),
        parents=[common_options()],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"moonlight {__version__}")
    commands = Commands(
        parser.add_subparsers(dest="command", required=True, metavar="COMMAND", title="commands"),
        brief=brief,
    )
    for group in GROUPS:
        group.register(commands)
    return parser
