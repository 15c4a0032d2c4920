"""Sessions: ``create``, ``list``, ``show``, ``delete``."""

from __future__ import annotations

import argparse
import getpass
import shutil
import sys
from typing import TYPE_CHECKING, Any

from moonlight_core.cli.output import print_fields, print_json, print_table
from moonlight_core.models import Status
from moonlight_core.options import OPTIONS

if TYPE_CHECKING:
    from moonlight_core.cli.command import Commands
    from moonlight_core.cli.context import Context
    from moonlight_core.models import Session

_COLUMNS = ("session_id", "username", "image_id", "status", "phase", "slurm_node", "address")
_BAR = 20
_ALL = 100
_SIZES = {
    "cpus": "CPUs",
    "memory_gb": "memory in GiB",
    "gpus": "GPUs",
    "hours": "time limit in hours",
    "width": "width of the desktop in pixels",
    "height": "height of the desktop in pixels",
    "fps": "most frames a second",
    "idle_minutes": "minutes with nobody connected after which it ends; 0 for never",
}


def register(commands: Commands) -> None:
    """Add the commands of this group."""
    create = commands.add(
        "create",
        _create,
        "ask for a session",
        description="Ask for a session: a Slurm job that runs a desktop and streams it. Sizes "
        "that are not given come from the image.",
        examples=[
            ("moonlight create --wait", "the default desktop; returns when it can be connected to"),
            ("moonlight create --image xfce4 --cpus 8 --hours 4", "sizes of your own"),
            ("moonlight --json create --user alice", "as root, for alice; JSON for a program"),
        ],
    )
    create.add_argument("--user", help="account (default: yours)")
    create.add_argument("--image", dest="image_id", help="id of an image (default: the default)")
    for name, meaning in _SIZES.items():
        create.add_argument(f"--{name.replace('_', '-')}", type=int, metavar="N", help=meaning)
    for name, option in OPTIONS.items():
        kinds: dict[type, dict[str, Any]] = {
            int: {"type": int, "metavar": "N"},
            bool: {"action": argparse.BooleanOptionalAction},
            tuple: {"action": "append", "metavar": "WHAT"},
        }
        how = kinds.get(option.kind, {"choices": option.words} if option.words else {})
        create.add_argument(
            f"--{name.replace('_', '-')}",
            dest=name,
            help=option.meaning + (f" ({option.example})" if option.example else ""),
            **how,
        )
    create.add_argument("--wait", action="store_true", help="wait until the desktop is ready")
    create.add_argument(
        "--timeout", type=float, default=300.0, metavar="S", help="seconds to wait (default: 300)"
    )

    listing = commands.add(
        "list",
        _list,
        "list sessions",
        description="List sessions, the newest first, with those that ended a while ago.",
        examples=[
            ("moonlight list", "your own; as root everybody's"),
            ("moonlight list --user alice", "alice's"),
        ],
    )
    listing.add_argument("--user", help="only this user's (default: yours, as root everybody's)")

    for name, run, summary, what in (
        ("show", _show, "show a session", "everything that is known of it"),
        ("delete", _delete, "end a session", "ends it; once more changes nothing"),
    ):
        command = commands.add(
            name, run, summary, examples=[(f"moonlight {name} ml-alice-06f1a2b3c4", what)]
        )
        command.add_argument("session_id", metavar="ID", help="the session's id")


def _create(context: Context, arguments: argparse.Namespace) -> None:
    wanted = {name: getattr(arguments, name) for name in (*_SIZES, *OPTIONS)}
    user = context.user_for(arguments.user) or getpass.getuser()
    session = context.manager.create(user, arguments.image_id, **wanted)
    if arguments.wait:
        if not context.json:
            print(f"{session.session_id} is job {session.job_id}", file=sys.stderr)
        session = context.manager.wait(
            session.session_id,
            status=Status.RUNNING,
            timeout_s=arguments.timeout,
            progress=None if context.json else _progress,
        )
    _print_session(session, context)


def _progress(session: Session) -> None:
    """Show how far a session is: over the last line on a terminal, a line each elsewhere."""
    sentence = session.reason or session.phase
    if not sys.stderr.isatty():
        shown = "" if session.percent is None else f" {session.percent} %"
        print(f"{session.status}{shown}: {sentence}", file=sys.stderr)
        return
    done = _BAR * (session.percent or 0) // 100
    bar = f"[{'#' * done}{'.' * (_BAR - done)}] {session.percent or 0:3d} %  {sentence}"
    width = shutil.get_terminal_size().columns
    over = not session.percent or session.percent == _ALL
    print(f"\r\x1b[K{bar[: width - 1]}", end="\n" if over else "", file=sys.stderr, flush=True)


def _list(context: Context, arguments: argparse.Namespace) -> None:
    sessions = context.manager.list(user=context.user_for(arguments.user))
    if context.json:
        print_json([session.to_json() for session in sessions])
    elif not sessions:
        print("No sessions.")
    else:
        print_table(_COLUMNS, [[_cell(session, name) for name in _COLUMNS] for session in sessions])


def _show(context: Context, arguments: argparse.Namespace) -> None:
    _print_session(
        context.manager.get(arguments.session_id, user=context.scope("show", arguments.session_id)),
        context,
    )


def _delete(context: Context, arguments: argparse.Namespace) -> None:
    _print_session(
        context.manager.delete(
            arguments.session_id, user=context.scope("delete", arguments.session_id)
        ),
        context,
    )


def _cell(session: Session, name: str) -> str:
    if name == "address":
        return session.connect.address if session.connect else "-"
    value = getattr(session, name)
    return "-" if value is None else str(value)


def _print_session(session: Session, context: Context) -> None:
    fields = session.to_json()
    if context.json:
        print_json(fields)
        return
    connect = fields.pop("connect") or {}
    print_fields(fields | {"address": connect.get("address"), "command": connect.get("command")})
