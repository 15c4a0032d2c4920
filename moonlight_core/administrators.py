"""Who may see and end everybody's sessions, over HTTP and on the command line."""

from __future__ import annotations

import grp
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from moonlight_core.users import User


class Administrators:
    """Who may see and end everybody's sessions: a list, and a Unix group."""

    def __init__(self, names: Collection[str], group: str) -> None:
        self._names = frozenset(names)
        self._group = group

    def include(self, user: User) -> bool:
        """Whether a user is one of them, as the system's databases say now."""
        if user.name in self._names:
            return True
        if not self._group:
            return False
        try:
            gid = grp.getgrnam(self._group).gr_gid
        except KeyError:
            return False
        return gid in os.getgrouplist(user.name, user.gid)
