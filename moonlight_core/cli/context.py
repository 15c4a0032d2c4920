"""What a command is given besides its arguments."""

from __future__ import annotations

import json
import os
import syslog
from functools import cached_property
from typing import TYPE_CHECKING

import attrs

from moonlight_core.administrators import Administrators
from moonlight_core.audit import AuditLog, owner_in
from moonlight_core.errors import SettingsError, UserNotAllowed
from moonlight_core.manager import SessionManager
from moonlight_core.settings import Settings
from moonlight_core.users import User, name_of

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
        """Whose sessions may be touched; None for everybody's, for root and administrators."""
        if os.geteuid() == 0:
            return None
        service = self.manager.settings.service
        uid = os.geteuid()
        # Of the process, not of the environment, which anybody sets.
        user = User(name=name_of(uid) or str(uid), uid=uid, gid=os.getegid(), home="", shell="")
        administrators = Administrators(service.administrators, service.administrators_group)
        return None if administrators.include(user) else user.name

    def user_for(self, asked: str | None) -> str | None:
        """Whose sessions are meant: ``asked``, or else as ``only_user``.

        Raises:
            UserNotAllowed: somebody else's, and the caller is neither root nor an administrator.
        """
        only = self.only_user
        if only is not None and asked not in (None, only):
            raise UserNotAllowed(
                f"You are {only}: only root and administrators may do this for {asked}."
            )
        return asked or only

    def scope(self, act: str, session_id: str) -> str | None:
        """As ``only_user``, for a session; what an administrator does with another's is written.

        Into the audit log; where there is none, into the system's own.

        Args:
            act: the command.
            session_id: the session.

        Raises:
            SettingsError: the audit log cannot be written.
        """
        only = self.only_user
        owner = owner_in(session_id)
        # Who became root by sudo is still somebody.
        who = os.environ.get("SUDO_USER") if os.geteuid() == 0 else None
        who = who or name_of(os.getuid()) or str(os.getuid())
        if only is not None or owner in (None, who):
            return only
        said = {"who": who, "what": f"moonlight {act}", "whose": owner, "session_id": session_id}
        path = self.manager.settings.service.audit_log
        if path is None:
            syslog.openlog("moonlight", 0, syslog.LOG_AUTHPRIV)
            syslog.syslog(syslog.LOG_NOTICE, json.dumps(said))
            return only
        audit = AuditLog(path)
        try:
            audit.check()
        except OSError as exc:
            raise SettingsError([f"[service] audit_log cannot be written: {exc}."]) from exc
        audit.write(**said, address="local")
        return only
