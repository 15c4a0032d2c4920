"""Moonlight clients: ``pair``, ``clients``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import attrs

from moonlight_core.cli.output import print_json, print_table
from moonlight_core.pairing import DEFAULT_NAME

if TYPE_CHECKING:
    import argparse

    from moonlight_core.cli.command import Commands
    from moonlight_core.cli.context import Context
    from moonlight_core.pairing import PinOffer


def register(commands: Commands) -> None:
    """Add the commands of this group."""
    pair = commands.add(
        "pair",
        _pair,
        "pair a Moonlight client with a session",
        examples=[
            ("moonlight pair ml-alice-06f1a2b3c4", "draws a PIN and shows what to type"),
            ("moonlight pair ml-alice-06f1a2b3c4 --pin 0214", "the PIN that the client shows"),
        ],
    )
    pair.add_argument("session_id", metavar="ID", help="the session's id")
    pair.add_argument("--pin", help="the PIN that the client shows (default: draw one for it)")
    pair.add_argument("--name", default=DEFAULT_NAME, help=f"its name (default: {DEFAULT_NAME})")
    clients = commands.add("clients", _clients, "list the clients that are paired with a session")
    clients.add_argument("session_id", metavar="ID", help="the session's id")


def _pair(context: Context, arguments: argparse.Namespace) -> None:
    session_id = arguments.session_id
    pairing = context.acting("pair", session_id).pair(
        session_id, pin=arguments.pin, name=arguments.name, show_pin=_show_pin
    )
    assert pairing.client is not None  # noqa: S101 - for the type checker
    if context.json:
        client = {"name": pairing.client.name, "uuid": pairing.client.uuid}
        print_json({"status": pairing.status, "client": client})
    else:
        print(f"{pairing.client.name} is paired.")


def _show_pin(offer: PinOffer) -> None:
    print(
        f"Give the PIN {offer.pin} to the client within {offer.expires_in_s:g} s:\n"
        f"  {offer.command}",
        file=sys.stderr,
        flush=True,
    )


def _clients(context: Context, arguments: argparse.Namespace) -> None:
    session_id = arguments.session_id
    clients = context.acting("clients", session_id).clients(session_id)
    if context.json:
        print_json([attrs.asdict(client) for client in clients])
    elif not clients:
        print("No clients.")
    else:
        print_table(
            ("name", "uuid", "enabled"),
            [[client.name, client.uuid, "yes" if client.enabled else "no"] for client in clients],
        )
