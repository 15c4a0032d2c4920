"""How full the nodes are: slots used, free and blocked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from moonlight_core import ports

if TYPE_CHECKING:
    from collections.abc import Sequence

    from moonlight_core.gateway import SlurmNode
    from moonlight_core.settings import Settings
    from moonlight_core.slot_store import SlotStore, Taken

UNKNOWN = "UNKNOWN"
"""State of a node that has leases and is not, or no longer, in the partition."""


@attrs.frozen(kw_only=True)
class NodeSlots:
    """The slots of one node.

    Attributes:
        node: Slurm's name of it.
        state: Slurm's words for its state.
        reason: why it is out of use, if it is and somebody said so.
        usable: whether Slurm would start a session there.
        total: sessions that it takes at most, by displays, base ports and GRES.
        used: slots that are leased.
        free: slots that the next sessions may have, if Slurm has CPUs and memory for them.
        blocked: slots that neither are leased nor free: a foreign process sat there.
        sessions: ids of the sessions that hold a lease.
        busy: ``display:<n>`` and ``port:<base port>`` words of what is blocked.
    """

    node: str
    state: str
    reason: str = ""
    usable: bool
    total: int
    used: int
    free: int
    blocked: int
    sessions: tuple[str, ...] = ()
    busy: tuple[str, ...] = ()


def node_slots(settings: Settings, nodes: Sequence[SlurmNode], store: SlotStore) -> list[NodeSlots]:
    """The slots of these nodes, and of those that have leases besides, by name.

    Raises:
        StoreUnavailable: Redis is away.
    """
    known = {node.name: node for node in nodes}
    # A node that has left the partition is worth a line as long as something of ours is there.
    taken = {
        name: taken
        for name, taken in store.taken(sorted(known | dict.fromkeys(store.nodes()))).items()
        if name in known or taken.leases
    }
    return [_slots(settings, name, known.get(name), found) for name, found in taken.items()]


def _slots(settings: Settings, name: str, node: SlurmNode | None, taken: Taken) -> NodeSlots:
    slots = settings.slots
    displays = range(slots.first_display, slots.last_display + 1)
    packed = ports.pack(slots.first_port, slots.last_port, len(displays))
    total = min(len(packed), len(displays))
    gres = settings.slurm.slot_gres
    if node is not None and gres:
        total = min(total, node.gres.get(gres, 0))
    leases = taken.leases.values()
    free_displays = {f"display:{number}" for number in displays}
    free_displays -= taken.blocked.keys() | {f"display:{lease.display_num}" for lease in leases}
    free_ports = [
        port
        for port in packed
        if f"port:{port}" not in taken.blocked
        and not any(ports.clash(port, lease.sunshine_port) for lease in leases)
    ]
    free = max(0, min(len(free_displays), len(free_ports), total - len(leases)))
    return NodeSlots(
        node=name,
        state=node.state if node else UNKNOWN,
        reason=node.reason if node else f"not in the partition {settings.slurm.partition}",
        usable=node is not None and node.usable,
        total=total,
        used=len(leases),
        free=free,
        blocked=max(0, total - len(leases) - free),
        sessions=tuple(sorted(taken.leases)),
        busy=tuple(sorted(taken.blocked)),
    )
