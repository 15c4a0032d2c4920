"""Which display and base port a session gets on its node."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moonlight_core import bus, ports
from moonlight_core.states import stage_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from moonlight_core.gateway import SlurmJob
    from moonlight_core.models import Lease, Session
    from moonlight_core.settings import Settings
    from moonlight_core.store import SessionStore


class SlotChoice:
    """Takes slots; keeps nothing but which there are.

    What the marks of living jobs say comes before what Redis says, which may have lost some: a slot
    that a job was told is that job's, and nobody else's.
    """

    def __init__(self, settings: Settings, store: SessionStore) -> None:
        self._store = store
        slots = settings.slots
        self._displays = range(slots.first_display, slots.last_display + 1)
        self._base_ports = ports.pack(slots.first_port, slots.last_port, len(self._displays))

    def take(
        self,
        session: Session,
        job: SlurmJob,
        node: str,
        named: Callable[[], Mapping[str, SlurmJob]],
    ) -> Lease | None:
        """Lease a slot.

        Args:
            session: the session as it was read.
            job: its job, which holds ``node``.
            node: Slurm's name of the node.
            named: tells all jobs that say they are sessions, by session.

        Returns:
            the lease; None when there is no slot, or when somebody else changed the record.
        """
        told = _told(job, node)
        lease = told and self._store.lease(session, node, [told.display_num], [told.sunshine_port])
        if lease is not None:
            return lease
        others = [
            slot
            for session_id, other in named().items()
            if session_id != session.session_id and (slot := _told(other, node))
        ]
        displays = {slot.display_num for slot in others}
        return self._store.lease(
            session,
            node,
            [display for display in self._displays if display not in displays],
            [
                port
                for port in self._base_ports
                if not any(ports.clash(port, slot.sunshine_port) for slot in others)
            ],
        )


def _told(job: SlurmJob, node: str) -> Lease | None:
    """The slot on a node that a job was told for its present start, if it may still be using it."""
    mark = bus.Mark.of_job(job)
    if mark is None or mark.lease is None or mark.restart_count != job.restart_count:
        return None
    return mark.lease if mark.lease.node == node and stage_of(job.state).holds_node else None
