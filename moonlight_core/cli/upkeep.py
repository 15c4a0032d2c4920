"""For cron: ``reconcile``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from moonlight_core.cli.output import print_json

if TYPE_CHECKING:
    import argparse

    from moonlight_core.cli.command import Commands
    from moonlight_core.cli.context import Context


def register(commands: Commands) -> None:
    """Add the commands of this group."""
    commands.add("reconcile", _reconcile, "bring records, leases and jobs together once, for cron")


def _reconcile(context: Context, _arguments: argparse.Namespace) -> None:
    result = context.manager.reconcile()
    if context.json:
        print_json(attrs.asdict(result))
    else:
        print(", ".join(f"{name}: {value}" for name, value in attrs.asdict(result).items()))
