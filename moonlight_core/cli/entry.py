"""From a command line to an exit code."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from moonlight_core import errors
from moonlight_core.cli.context import Context
from moonlight_core.cli.exits import (
    EXIT_CONFIG,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_REFUSED,
    EXIT_UNAVAILABLE,
    EXIT_USAGE,
)
from moonlight_core.cli.parser import make_parser

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = make_parser().parse_args(argv)
    context = Context(
        config=getattr(arguments, "config", None), json=getattr(arguments, "json", False)
    )
    try:
        code: int | None = arguments.run(context, arguments)
    except errors.SettingsError as exc:
        return _complain(exc, EXIT_CONFIG)
    except errors.InvalidRequest as exc:
        return _complain(exc, EXIT_USAGE)
    except (
        errors.RequestError,
        errors.SessionEnded,
        errors.WaitTimeout,
        errors.SubmitRejected,
        errors.SlurmRefused,
    ) as exc:
        return _complain(exc, EXIT_REFUSED)
    except errors.MoonlightError as exc:
        return _complain(exc, EXIT_UNAVAILABLE)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe has seen enough (`moonlight list | head`).
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    return EXIT_OK if code is None else code


def _complain(error: Exception, code: int) -> int:
    print(f"moonlight: {error}", file=sys.stderr)
    return code
