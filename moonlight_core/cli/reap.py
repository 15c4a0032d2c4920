"""For cron: ``reap``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from moonlight_core.cli.output import print_json, print_table

if TYPE_CHECKING:
    import argparse

    from moonlight_core.cli.command import Commands
    from moonlight_core.cli.context import Context

_COLUMNS = ("session_id", "username", "slurm_node", "clients", "idle since", "ends at", "verdict")


def register(commands: Commands) -> None:
    """Add the commands of this group."""
    reap = commands.add(
        "reap",
        _reap,
        "end desktops that nobody is connected to",
        description="Warn, and then end, running sessions that nobody has been connected to for as "
        "long as they may, or that are older than the site allows. A running service does this by "
        "itself; from cron it is done once each time. Nobody who is connected is cut off, and what "
        "is not known counts as connected.",
        examples=[
            ("moonlight reap --dry-run", "who would be ended, and when"),
            ("* * * * * root moonlight reap >/dev/null", "in /etc/cron.d, where no service runs"),
        ],
    )
    reap.add_argument(
        "--dry-run", action="store_true", help="say what would be done, and do nothing"
    )


def _reap(context: Context, arguments: argparse.Namespace) -> None:
    found = context.manager.reap(dry_run=arguments.dry_run)
    if context.json:
        print_json(
            [
                attrs.asdict(
                    each,
                    value_serializer=lambda _instance, _field, value: (
                        value.isoformat(timespec="seconds")
                        if hasattr(value, "isoformat")
                        else value
                    ),
                )
                for each in found
            ]
        )
    elif not found:
        print("No session is running.")
    else:
        print_table(
            _COLUMNS,
            [
                [
                    each.session_id,
                    each.username,
                    each.slurm_node or "-",
                    "?" if each.clients_connected is None else str(each.clients_connected),
                    *(
                        f"{at.astimezone():%m-%d %H:%M}" if at else "-"
                        for at in (each.idle_since, each.ends_at)
                    ),
                    each.verdict,
                ]
                for each in found
            ],
        )
