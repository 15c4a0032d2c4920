"""Looking at a session: ``log`` and ``screenshot``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from moonlight_core.cli.output import print_json
from moonlight_core.errors import InvalidRequest
from moonlight_core.session_log import MOST_LINES

if TYPE_CHECKING:
    import argparse

    from moonlight_core.cli.command import Commands
    from moonlight_core.cli.context import Context


def register(commands: Commands) -> None:
    """Add the commands of this group."""
    log = commands.add(
        "log",
        _log,
        "show the end of a session's log",
        description="Show what a session's job has printed: its phases, and after its end the logs "
        "of its X server, desktop and Sunshine.",
        examples=[("moonlight log ml-alice-06f1a2b3c4 --tail 20", "its last lines")],
    )
    log.add_argument("session_id", metavar="ID", help="the session's id")
    log.add_argument(
        "--tail",
        type=int,
        default=200,
        metavar="N",
        help=f"lines, 1 to {MOST_LINES} (default: 200)",
    )
    screenshot = commands.add(
        "screenshot",
        _screenshot,
        "save a picture of a desktop",
        description="Save a picture of a session's desktop, made by its own job.",
        examples=[("moonlight screenshot ml-alice-06f1a2b3c4 now.png", "as a PNG file")],
    )
    screenshot.add_argument("session_id", metavar="ID", help="the session's id")
    screenshot.add_argument("file", metavar="FILE", type=Path, help="the PNG file to write")


def _log(context: Context, arguments: argparse.Namespace) -> None:
    session_id = arguments.session_id
    log = context.acting("log", session_id).log(session_id, tail=arguments.tail)
    if context.json:
        print_json(
            {
                "lines": log.lines,
                "complete": log.complete,
                "size_bytes": log.size_bytes,
                "path": log.path,
            }
        )
        return
    sys.stdout.writelines(f"{line}\n" for line in log.lines)
    if not log.lines:
        print("The job has printed nothing yet.", file=sys.stderr)


def _screenshot(context: Context, arguments: argparse.Namespace) -> None:
    session_id = arguments.session_id
    picture = context.acting("screenshot", session_id).screenshot(session_id)
    try:
        arguments.file.write_bytes(picture.data)
    except OSError as exc:
        raise InvalidRequest(
            "file", f"{arguments.file} cannot be written: {exc.strerror}."
        ) from exc
    if context.json:
        print_json({"file": str(arguments.file), "width": picture.width, "height": picture.height})
    else:
        print(f"{arguments.file}: {picture.width} x {picture.height} pixels.")
