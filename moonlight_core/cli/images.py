"""The catalogue: ``images``."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    images = context.manager.images()
    user = context.user_for(arguments.user)
    if user is None:
        available = frozenset(image.id for image in images if image.available)
    else:
        available = context.manager.available_images(user)
    if context.json:
        print_json(
            [
                {
                    "id": image.id,
                    "name": image.name,
                    "default": image.default,
                    "available": image.id in available,
                }
                for image in images
            ]
        )
    else:
        print_table(
            ("id", "name", "default", "available"),
            [
                [
                    image.id,
                    image.name,
                    "yes" if image.default else "",
                    "yes" if image.id in available else "no",
                ]
                for image in images
            ],
        )
