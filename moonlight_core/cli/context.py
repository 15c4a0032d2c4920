"""What a command is given besides its arguments."""

from __future__ import annotations

import json
import os
import syslog
from functools import cached_property
from typing import TYPE_CHECKING

import attrs

from moonlight_core.audit import AuditLog, owner_in
from moonlight_core.errors import SettingsError, UserNotAllowed
from moonlight_core.manager import SessionManager
from moonlight_core.service_settings import USERS_SOCKET
from moonlight_core.settings import Settings, config_path
from moonlight_core.users import name_of

if TYPE_CHECKING:
    from pathlib import Path

    from moonlight_core.cli.way import Sessions


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
        """The library, for commands that nobody but an operator can carry out.

        Raises:
            SettingsError: with every fault of the configuration.
            UserNotAllowed: an ordinary user wants it.
        """
        self.operators_only()
        return SessionManager.from_config(self.config)

    @cached_property
    def sessions(self) -> Sessions:
        """The library, or for an ordinary user the service.

        Raises:
            SettingsError: as ``manager``, or users have no way to the service.
        """
        if not self.is_ordinary:
            return self.manager
        # The library stands without its HTTP service, and only here a command may need it.
        from moonlight_http.client import ServiceClient  # noqa: PLC0415

        return ServiceClient(self._users_socket, own_name())

    @cached_property
    def is_ordinary(self) -> bool:
        """Whether an ordinary user runs this, who cannot read the service's secrets.

        That is anybody but root, the account to which the service's secret belongs (or, before
        there is one, the configuration), and whom a single-user installation is for.

        Raises:
            SettingsError: with every fault of the configuration.
        """
        if os.geteuid() == 0:
            return False
        if not self._config_is_readable:
            return True
        service = self.settings.service
        if service.single_user:
            return False
        for path in (service.secret_file, self._config_path):
            try:
                return path.stat().st_uid != os.geteuid()
            except FileNotFoundError:
                continue
            except OSError:
                break
        return True

    def operators_only(self) -> None:
        """Refuse a command to ordinary users.

        Raises:
            UserNotAllowed: it is one.
        """
        if self.is_ordinary:
            raise UserNotAllowed(
                f"You are {own_name()}, and this is a command for operators: root, or the account "
                "that the service runs as. Your own are create, list, show, delete, log, "
                "screenshot, pair, clients and images."
            )

    def user_for(self, asked: str | None) -> str | None:
        """Whose sessions are meant: ``asked``, or one's own; as an operator everybody's (None)."""
        return asked or (own_name() if self.is_ordinary else None)

    def acting(self, act: str, session_id: str) -> Sessions:
        """The way to a session; what an operator does with another's is written first.

        Into the audit log; where there is none, into the system's own. What comes through the
        service is written by the service.

        Args:
            act: the command.
            session_id: the session.

        Raises:
            SettingsError: as ``sessions``, or the audit log cannot be written.
        """
        if self.is_ordinary:
            return self.sessions
        owner = owner_in(session_id)
        # Who became root by sudo is still somebody.
        who = os.environ.get("SUDO_USER") if os.geteuid() == 0 else None
        who = who or own_name()
        if owner in (None, who):
            return self.sessions
        said = {"who": who, "what": f"moonlight {act}", "whose": owner, "session_id": session_id}
        path = self.manager.settings.service.audit_log
        if path is None:
            syslog.openlog("moonlight", 0, syslog.LOG_AUTHPRIV)
            syslog.syslog(syslog.LOG_NOTICE, json.dumps(said))
            return self.sessions
        audit = AuditLog(path)
        try:
            audit.check()
        except OSError as exc:
            raise SettingsError([f"[service] audit_log cannot be written: {exc}."]) from exc
        audit.write(**said, address="local")
        return self.sessions

    @property
    def _config_path(self) -> Path:
        return config_path(self.config, os.environ)

    @property
    def _config_is_readable(self) -> bool:
        """Whether it may be read; what else is wrong with it is told when it is."""
        try:
            self._config_path.open().close()
        except PermissionError:
            return False
        except OSError:
            pass
        return True

    @property
    def _users_socket(self) -> Path:
        if not self._config_is_readable:
            return USERS_SOCKET
        path = self.settings.service.users_socket
        if path is None:
            told = "[service] users_socket is empty: users have no way to the service from here"
            raise SettingsError([f"{told}; administrators can set it."])
        return path


def own_name() -> str:
    """Who runs this: of the process, not of the environment, which anybody sets."""
    return name_of(os.geteuid()) or str(os.geteuid())
