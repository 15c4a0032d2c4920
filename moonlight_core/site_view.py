"""``SiteView``: what there is to choose from, and how full it is.

It is the part of ``SessionManager`` that looks at the site rather than at one session.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from moonlight_core.slots import node_slots

if TYPE_CHECKING:
    from collections.abc import Callable

    from moonlight_core.gateway import SlurmGateway
    from moonlight_core.images import Image
    from moonlight_core.settings import Settings
    from moonlight_core.slots import NodeSlots
    from moonlight_core.store import SessionStore
    from moonlight_core.users import User


class SiteView:
    """Images and nodes; a mixin of ``SessionManager``, which sets the attributes."""

    settings: Settings
    _store: SessionStore
    _gateway: SlurmGateway
    _resolve_user: Callable[..., User]

    def images(self) -> list[Image]:
        """The image catalogue."""
        return list(self.settings.images.values())

    def available_images(self, user: str) -> frozenset[str]:
        """Ids of the images that a user can have a session of: their files are readable for her.

        Raises:
            UserNotAllowed: she may have no session at all.
        """
        account = self._resolve_user(user, first_uid=self.settings.sessions.first_uid)
        return frozenset(image.id for image in self.images() if image.available_to(account))

    def nodes(self) -> tuple[NodeSlots, ...]:
        """The nodes of the partition and their slots: used, free, blocked.

        Raises:
            SlurmUnavailable: slurmctld is away.
            SlurmRefused: the partition does not exist.
        """
        nodes = self._gateway.nodes(self.settings.slurm.partition)
        return tuple(node_slots(self.settings, nodes, self._store.slots))
