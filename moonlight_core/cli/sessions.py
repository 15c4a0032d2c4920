"""Sessions: ``create``, ``list``, ``show``, ``delete``."""

from __future__ import annotations

import argparse
import shutil
import sys
from typing import TYPE_CHECKING, Any, Self

from moonlight_core.cli.context import own_name
from moonlight_core.cli.output import print_fields, print_json, print_table
from moonlight_core.models import Status
from moonlight_core.options import OPTIONS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from moonlight_core.cli.command import Commands
    from moonlight_core.cli.context import Context
    from moonlight_core.models import Session

_COLUMNS = ("session_id", "username", "image_id", "status", "phase", "slurm_node", "address")
_MADE = (
    *("session_id", "job_id", "image_id", "slurm_node", "status", "reason", "error"),
    *("expires_at", "address", "command"),
)
_BAR = 20
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
        "that are not given come from the image. Ctrl-C ends the waiting of --wait, and not the "
        "session.",
        examples=[
            ("moonlight create --wait", "the default desktop; returns when it can be connected to"),
            ("moonlight create --image xfce4 --cpus 8 --hours 4", "sizes of your own"),
            ("moonlight --json create --user alice", "as root, for alice; JSON for a program"),
        ],
    )
    create.add_argument("--user", help="account (default: yours; only root may name others)")
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
            ("moonlight list --user alice", "alice's, as root or as an administrator"),
        ],
    )
    whose = listing.add_mutually_exclusive_group()
    whose.add_argument("--user", help="only this user's (default: yours, as root everybody's)")
    whose.add_argument("--all", action="store_true", help="everybody's, for administrators")

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
    user = arguments.user or own_name()
    session = context.sessions.create(user, arguments.image_id, **wanted)
    if arguments.wait:
        session = _wait(context, session, arguments.timeout)
    _print_session(session, context, _MADE)


def _wait(context: Context, session: Session, timeout_s: float) -> Session:
    session_id = session.session_id
    if not context.json:
        print(f"{session_id} is job {session.job_id}", file=sys.stderr)
    try:
        with _Bar() as bar:
            return context.sessions.wait(
                session_id,
                status=Status.RUNNING,
                timeout_s=timeout_s,
                progress=None if context.json else bar.show,
            )
    except KeyboardInterrupt:
        print(
            f"{session_id} goes on without being waited for: `moonlight show {session_id}` tells "
            f"how it is, `moonlight delete {session_id}` ends it.",
            file=sys.stderr,
        )
        raise


class _Bar:
    """How far a session is: over the last line on a terminal, a line each elsewhere."""

    def __init__(self) -> None:
        self._open = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # What comes next, be it a complaint, has a line of its own.
        if self._open:
            print(file=sys.stderr)

    def show(self, session: Session) -> None:
        """Show a session as it is now."""
        sentence = session.reason or session.phase
        if not sys.stderr.isatty():
            shown = "" if session.percent is None else f" {session.percent} %"
            print(f"{session.status}{shown}: {sentence}", file=sys.stderr)
            return
        done = _BAR * (session.percent or 0) // 100
        bar = f"[{'#' * done}{'.' * (_BAR - done)}] {session.percent or 0:3d} %  {sentence}"
        width = shutil.get_terminal_size().columns
        print(f"\r\x1b[K{bar[: width - 1]}", end="", file=sys.stderr, flush=True)
        self._open = True


def _list(context: Context, arguments: argparse.Namespace) -> None:
    user = None if arguments.all else context.user_for(arguments.user)
    sessions = context.sessions.list(user=user)
    if context.json:
        print_json([session.to_json() for session in sessions])
    elif not sessions:
        print("No sessions.")
    else:
        print_table(_COLUMNS, [[_cell(session, name) for name in _COLUMNS] for session in sessions])


def _show(context: Context, arguments: argparse.Namespace) -> None:
    session_id = arguments.session_id
    _print_session(context.acting("show", session_id).get(session_id), context)


def _delete(context: Context, arguments: argparse.Namespace) -> None:
    session_id = arguments.session_id
    session = context.acting("delete", session_id).delete(session_id)
    if context.json:
        print_json(session.to_json())
    else:
        print(f"{session_id} is {session.status}. {session.error or session.reason or ''}".strip())


def _cell(session: Session, name: str) -> str:
    if name == "address":
        return session.connect.address if session.connect else "-"
    value = getattr(session, name)
    return "-" if value is None else str(value)


def _print_session(session: Session, context: Context, only: Sequence[str] = ()) -> None:
    fields = session.to_json()
    if context.json:
        print_json(fields)
        return
    connect = fields.pop("connect") or {}
    fields |= {"address": connect.get("address"), "command": connect.get("command")}
    print_fields({name: fields[name] for name in only or fields})
