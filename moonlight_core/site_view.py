"""``SiteView``: what there is to choose from, and how full it is.

It is the part of ``SessionManager`` that looks at the site rather than at one session.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from moonlight_core.slots import node_slots

if TYPE_CHECKING:
    from collections.abc import Callable

    from moonlight_core.gateway import SlurmGateway
    from moonlight_core.images import Image
    from moonlight_core.settings import Settings
    from moonlight_core.slots import NodeSlots
    from moonlight_core.store import SessionStore
    from moonlight_core.users import User


@attrs.frozen(kw_only=True)
class CatalogueEntry:
    """An image as somebody who chooses sees it.

    Attributes:
        id: its name in requests.
        name: the name people see.
        default: whether a request that names none means this one.
        available: whether its file can be read by whoever asks.
    """

    id: str
    name: str
    default: bool
    available: bool


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

    def catalogue(self, user: str | None = None) -> tuple[CatalogueEntry, ...]:
        """The images, and which of them a user can have; without one, which this program can read.

        Raises:
            UserNotAllowed: she may have no session at all.
        """
        available = None if user is None else self.available_images(user)
        return tuple(
            CatalogueEntry(
                id=image.id,
                name=image.name,
                default=image.default,
                available=image.available if available is None else image.id in available,
            )
            for image in self.images()
        )

    def nodes(self) -> tuple[NodeSlots, ...]:
        """The nodes of the partition and their slots: used, free, blocked.

        Raises:
            SlurmUnavailable: slurmctld is away.
            SlurmRefused: the partition does not exist.
        """
        nodes = self._gateway.nodes(self.settings.slurm.partition)
        return tuple(node_slots(self.settings, nodes, self._store.slots))
