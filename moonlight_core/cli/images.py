"""The catalogue: ``images``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from moonlight_core.cli.output import print_json, print_table

if TYPE_CHECKING:
    import argparse

    from moonlight_core.cli.command import Commands
    from moonlight_core.cli.context import Context


def register(commands: Commands) -> None:
    """Add the commands of this group."""
    images = commands.add(
        "images",
        _images,
        "list the images",
        description="List the images of the catalogue. One is available when its file is there "
        "and can be read by the user, as whom a session runs.",
        examples=[("moonlight images --user alice", "as root: what alice can have")],
    )
    images.add_argument(
        "--user", help="available to this user (default: to you, as root to the program)"
    )


def _images(context: Context, arguments: argparse.Namespace) -> None:
    images = context.sessions.catalogue(context.user_for(arguments.user))
    if context.json:
        print_json([attrs.asdict(image) for image in images])
    else:
        print_table(
            ("id", "name", "default", "available"),
            [
                [
                    image.id,
                    image.name,
                    "yes" if image.default else "",
                    "yes" if image.available else "no",
                ]
                for image in images
            ],
        )
