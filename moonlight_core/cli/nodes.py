"""Room on the nodes: ``nodes``."""

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
    commands.add(
        "nodes",
        _nodes,
        "show how many sessions the nodes have and take",
        description="Show the nodes of the partition with their slots: used by sessions, free for "
        "the next ones, or blocked because a foreign process sat on the display or a port. A free "
        "slot still needs CPUs, memory and GPUs from Slurm.",
        examples=[
            ("moonlight nodes", "a line for each node"),
            ("moonlight nodes --json | jq '[.[] | select(.usable) | .free] | add'", "free slots"),
        ],
    )


def _nodes(context: Context, _arguments: argparse.Namespace) -> None:
    nodes = context.manager.nodes()
    if context.json:
        print_json([attrs.asdict(node) for node in nodes])
    elif not nodes:
        print(f"The partition {context.manager.settings.slurm.partition} has no nodes.")
    else:
        print_table(
            ("node", "state", "slots", "used", "free", "blocked", "note"),
            [
                [
                    node.node,
                    node.state.lower(),
                    *(str(count) for count in (node.total, node.used, node.free, node.blocked)),
                    "; ".join(filter(None, [node.reason, ", ".join(node.busy)])) or "-",
                ]
                for node in nodes
            ],
        )
