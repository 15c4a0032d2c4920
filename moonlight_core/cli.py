"""The command line: ``moonlight`` or ``python -m moonlight_core``, for people and for cron."""

from __future__ import annotations

import argparse
import getpass
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from moonlight_core import __version__, errors
from moonlight_core.manager import SessionManager
from moonlight_core.models import Status
from moonlight_core.pairing import DEFAULT_NAME

if TYPE_CHECKING:
    from collections.abc import Sequence

    from moonlight_core.models import Session
    from moonlight_core.pairing import PinOffer

EXIT_OK = os.EX_OK
EXIT_REFUSED = 1
EXIT_USAGE = 2
EXIT_UNAVAILABLE = os.EX_UNAVAILABLE
EXIT_CONFIG = os.EX_CONFIG
EXIT_INTERRUPTED = 130

_COLUMNS = ("session_id", "username", "image_id", "status", "phase", "slurm_node", "address")
_SIZES = {
    "cpus": "CPUs",
    "memory_gb": "memory in GiB",
    "gpus": "GPUs",
    "hours": "time limit in hours",
    "width": "width of the desktop in pixels",
    "height": "height of the desktop in pixels",
    "fps": "most frames a second",
}


def make_parser() -> argparse.ArgumentParser:
    """The parser; help texts are part of the interface."""
    parser = argparse.ArgumentParser(
        prog="moonlight",
        description="GPU desktops as Slurm jobs, streamed by Sunshine to any Moonlight client.",
        epilog="Exit codes: 0 done, 1 refused or not found, 2 usage, 69 Slurm, Redis or Sunshine "
        "is away, 78 faulty configuration, 130 interrupted.",
    )
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="configuration file (default: $MOONLIGHT_CONFIG, then /etc/moonlight/moonlight.toml)",
    )
    parser.add_argument("--json", action="store_true", help="answer in JSON, for programs")
    parser.add_argument("--version", action="version", version=f"moonlight {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    create = commands.add_parser("create", help="ask for a session")
    create.add_argument("--user", default=getpass.getuser(), help="account (default: yours)")
    create.add_argument("--image", dest="image_id", help="id of an image (default: the default)")
    for name, meaning in _SIZES.items():
        create.add_argument(f"--{name.replace('_', '-')}", type=int, metavar="N", help=meaning)
    create.add_argument("--wait", action="store_true", help="wait until the desktop is ready")
    create.add_argument(
        "--timeout", type=float, default=300.0, metavar="S", help="seconds to wait (default: 300)"
    )
    create.set_defaults(run=_create)

    listing = commands.add_parser("list", help="list sessions")
    listing.add_argument("--user", help="only this user's (default: yours, as root everybody's)")
    listing.set_defaults(run=_list)

    for name, run, meaning in (
        ("show", _show, "show a session"),
        ("delete", _delete, "end a session"),
    ):
        command = commands.add_parser(name, help=meaning)
        command.add_argument("session_id", metavar="ID", help="the session's id")
        command.set_defaults(run=run)

    pair = commands.add_parser("pair", help="pair a Moonlight client with a session")
    pair.add_argument("session_id", metavar="ID", help="the session's id")
    pair.add_argument("--pin", help="the PIN that the client shows (default: draw one for it)")
    pair.add_argument("--name", default=DEFAULT_NAME, help=f"its name (default: {DEFAULT_NAME})")
    pair.set_defaults(run=_pair)
    clients = commands.add_parser("clients", help="list the clients that are paired with a session")
    clients.add_argument("session_id", metavar="ID", help="the session's id")
    clients.set_defaults(run=_clients)

    commands.add_parser("images", help="list the images").set_defaults(run=_images)
    commands.add_parser(
        "reconcile", help="bring records, leases and jobs together once, for cron"
    ).set_defaults(run=_reconcile)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = make_parser().parse_args(argv)
    try:
        manager = SessionManager.from_config(arguments.config)
        arguments.run(manager, arguments)
    except errors.SettingsError as exc:
        return _complain(exc, EXIT_CONFIG)
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
    return EXIT_OK


def _complain(error: Exception, code: int) -> int:
    print(f"moonlight: {error}", file=sys.stderr)
    return code


def _create(manager: SessionManager, arguments: argparse.Namespace) -> None:
    sizes = {name: getattr(arguments, name) for name in _SIZES}
    session = manager.create(arguments.user, arguments.image_id, **sizes)
    if arguments.wait:
        if not arguments.json:
            print(f"{session.session_id} is job {session.job_id}", file=sys.stderr)
        session = manager.wait(
            session.session_id,
            status=Status.RUNNING,
            timeout_s=arguments.timeout,
            progress=None if arguments.json else _progress,
        )
    _print_session(session, arguments)


def _progress(session: Session) -> None:
    print(f"{session.status}: {session.reason or session.phase}", file=sys.stderr)


def _list(manager: SessionManager, arguments: argparse.Namespace) -> None:
    user = arguments.user or (None if os.geteuid() == 0 else getpass.getuser())
    sessions = manager.list(user=user)
    if arguments.json:
        _print_json([session.to_json() for session in sessions])
    elif not sessions:
        print("No sessions.")
    else:
        _print_table(
            _COLUMNS, [[_cell(session, name) for name in _COLUMNS] for session in sessions]
        )


def _show(manager: SessionManager, arguments: argparse.Namespace) -> None:
    _print_session(manager.get(arguments.session_id, user=_own()), arguments)


def _delete(manager: SessionManager, arguments: argparse.Namespace) -> None:
    _print_session(manager.delete(arguments.session_id, user=_own()), arguments)


def _pair(manager: SessionManager, arguments: argparse.Namespace) -> None:
    pairing = manager.pair(
        arguments.session_id,
        pin=arguments.pin,
        name=arguments.name,
        user=_own(),
        show_pin=_show_pin,
    )
    assert pairing.client is not None  # noqa: S101 - for the type checker
    if arguments.json:
        client = {"name": pairing.client.name, "uuid": pairing.client.uuid}
        _print_json({"status": pairing.status, "client": client})
    else:
        print(f"{pairing.client.name} is paired.")


def _show_pin(offer: PinOffer) -> None:
    print(
        f"Give the PIN {offer.pin} to the client within {offer.expires_in_s:g} s:\n"
        f"  {offer.command}",
        file=sys.stderr,
        flush=True,
    )


def _clients(manager: SessionManager, arguments: argparse.Namespace) -> None:
    clients = manager.clients(arguments.session_id, user=_own())
    if arguments.json:
        _print_json([attrs.asdict(client) for client in clients])
    elif not clients:
        print("No clients.")
    else:
        _print_table(
            ("name", "uuid", "enabled"),
            [[client.name, client.uuid, "yes" if client.enabled else "no"] for client in clients],
        )


def _images(manager: SessionManager, arguments: argparse.Namespace) -> None:
    images = manager.images()
    if arguments.json:
        _print_json(
            [
                {
                    "id": image.id,
                    "name": image.name,
                    "default": image.default,
                    "available": image.available,
                }
                for image in images
            ]
        )
    else:
        _print_table(
            ("id", "name", "available"),
            [[image.id, image.name, "yes" if image.available else "no"] for image in images],
        )


def _reconcile(manager: SessionManager, arguments: argparse.Namespace) -> None:
    result = manager.reconcile()
    if arguments.json:
        _print_json(attrs.asdict(result))
    else:
        print(", ".join(f"{name}: {value}" for name, value in attrs.asdict(result).items()))


def _own() -> str | None:
    """Whose sessions may be touched: root's are everybody's."""
    return None if os.geteuid() == 0 else getpass.getuser()


def _cell(session: Session, name: str) -> str:
    if name == "address":
        return session.connect.address if session.connect else "-"
    value = getattr(session, name)
    return "-" if value is None else str(value)


def _print_session(session: Session, arguments: argparse.Namespace) -> None:
    fields = session.to_json()
    if arguments.json:
        _print_json(fields)
        return
    connect = fields.pop("connect") or {}
    fields |= {"address": connect.get("address"), "command": connect.get("command")}
    shown = {name: value for name, value in fields.items() if value is not None}
    width = max(map(len, shown))
    for name, value in shown.items():
        print(f"{name:<{width}}  {value}")


def _print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    for row in (header, *rows):
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )


def _print_json(document: Any) -> None:
    print(json.dumps(document, indent=2, ensure_ascii=False))
