"""The command line: ``moonlight`` or ``python -m moonlight_core``, for people and for cron.

One module a group of commands; each has a ``register`` that adds its commands, and is named in
``moonlight_core.cli.parser.GROUPS``. A command is a function of a ``Context`` and the parsed
arguments; what it prints goes through ``moonlight_core.cli.output``, what it refuses is an error of
``moonlight_core.errors``, of which ``moonlight_core.cli.entry`` makes a sentence and an exit code.
"""

from moonlight_core.cli.entry import main
from moonlight_core.cli.exits import (
    EXIT_CONFIG,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_REFUSED,
    EXIT_UNAVAILABLE,
    EXIT_USAGE,
)
from moonlight_core.cli.parser import make_parser

__all__ = [
    "EXIT_CONFIG",
    "EXIT_INTERRUPTED",
    "EXIT_OK",
    "EXIT_REFUSED",
    "EXIT_UNAVAILABLE",
    "EXIT_USAGE",
    "main",
    "make_parser",
]
