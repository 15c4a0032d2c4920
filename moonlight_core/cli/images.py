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
    commands.add("images", _images, "list the images")


def _images(context: Context, _arguments: argparse.Namespace) -> None:
    images = context.manager.images()
    if context.json:
        print_json(
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
        print_table(
            ("id", "name", "available"),
            [[image.id, image.name, "yes" if image.available else "no"] for image in images],
        )
