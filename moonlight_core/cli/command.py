"""How a command is added: one call, so that every help page has the same shape."""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from moonlight_core.cli.context import Context

    Run = Callable[[Context, argparse.Namespace], int | None]
    """A command: prints its answer; returns an exit code, or None for ``EXIT_OK``."""


# Help is laid out by us where examples stand in it; it fits every terminal.
_WIDTH = 78


class Commands:
    """The commands of the parser, as a group's ``register`` gets them.

    Args:
        subparsers: where they are added.
        brief: their summaries alone, in place of sentences.
    """

    def __init__(
        self,
        subparsers: argparse._SubParsersAction[argparse.ArgumentParser],
        *,
        brief: bool = False,
    ) -> None:
        self._subparsers = subparsers
        self._brief = brief
        self._common = common_options()

    def add(
        self,
        name: str,
        run: Run,
        summary: str,
        *,
        description: str = "",
        examples: Sequence[tuple[str, str]] = (),
    ) -> argparse.ArgumentParser:
        """Add a command, and return its parser for its arguments.

        Args:
            name: what it is called.
            run: what it does.
            summary: one line without a full stop, for the list of commands.
            description: sentences for its own help page; empty for the summary alone.
            examples: command lines and what each is for.
        """
        sentences = description or f"{summary[0].upper()}{summary[1:]}."
        parser = self._subparsers.add_parser(
            name,
            help=summary,
            description=summary if self._brief else textwrap.fill(sentences, width=_WIDTH),
            epilog=example_text(examples),
            parents=[self._common],
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        parser.set_defaults(run=run)
        return parser


def common_options() -> argparse.ArgumentParser:
    """Options that stand before or after a command, as people type them."""
    common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    common.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="configuration file (default: $MOONLIGHT_CONFIG, then /etc/moonlight/moonlight.toml)",
    )
    common.add_argument("--json", action="store_true", help="answer in JSON, for programs")
    return common


def example_text(examples: Sequence[tuple[str, str]]) -> str | None:
    """The examples' part of a help page; None for no examples."""
    if not examples:
        return None
    return "\n".join(["examples:", *(f"  {line}\n      {what}" for line, what in examples)])
