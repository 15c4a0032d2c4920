"""What a command is given besides its arguments."""

from __future__ import annotations

import getpass
import os
from functools import cached_property
from typing import TYPE_CHECKING

import attrs

from moonlight_core.manager import SessionManager
from moonlight_core.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path


@attrs.define(kw_only=True, slots=False)
class Context:
    """The way to everything; nothing is read or connected before a command wants it."""

    config: Path | None = None
    """The configuration file that was asked for; None for where it usually is."""
    json: bool = False
    """Whether to answer in JSON."""

    @cached_property
    def settings(self) -> Settings:
        """The configuration.

        Raises:
            SettingsError: with every fault of it.
        """
        return Settings.load(self.config)

    @cached_property
    def manager(self) -> SessionManager:
        """The library, on that configuration.

        Raises:
            SettingsError: with every fault of the configuration.
        """
        return SessionManager.from_config(self.config)

    @property
    def only_user(self) -> str | None:
        """Whose sessions may be touched: root's are everybody's."""
        return None if os.geteuid() == 0 else getpass.getuser()
