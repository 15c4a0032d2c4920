"""The audit log: what administrators did with what is not theirs."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import falcon

from moonlight_core.audit import owner_in
from moonlight_http.errors import Refusal
from moonlight_http.request_id import client_address

if TYPE_CHECKING:
    from moonlight_core.audit import AuditLog
    from moonlight_http.identity import Caller
    from moonlight_http.peers import Proxies

_log = logging.getLogger("moonlight.audit")


class Audit:
    """Middleware that writes down each request of an administrator for what is not hers.

    Whatever a session's address has below it is covered, so that nothing new can be forgotten.
    """

    def __init__(self, log: AuditLog, proxies: Proxies) -> None:
        self._audit = log
        self._proxies = proxies

    def process_resource(
        self, req: falcon.Request, _resp: falcon.Response, _resource: object, params: dict[str, str]
    ) -> None:
        """See before the act that it can be written down."""
        whose = _whose(req, params)
        if whose is None:
            return
        req.context.audited = whose
        try:
            self._audit.check()
        except OSError as exc:
            _log.error("the audit log cannot be written: %s", exc)
            raise Refusal(
                falcon.HTTP_503,
                "audit_unavailable",
                "Acts of administrators cannot be written down now, so they are refused. Look into "
                "the service's log.",
            ) from exc

    def process_response(self, req: falcon.Request, resp: falcon.Response, *_: object) -> None:
        """Write it down, with what came of it."""
        whose = getattr(req.context, "audited", None)
        if whose is None:
            return
        caller: Caller = req.context.caller
        self._audit.write(
            who=caller.name,
            what=f"{req.method} {req.path}",
            whose=whose,
            session_id=req.path.split("/")[4] if whose != "*" else None,
            status=resp.status_code,
            address=client_address(req, self._proxies),
            request_id=req.context.request_id,
        )


def _whose(req: falcon.Request, params: dict[str, str]) -> str | None:
    """Whose things an administrator asks for: a user's, everybody's (``*``), or None: her own."""
    caller: Caller | None = getattr(req.context, "caller", None)
    if caller is None or not caller.administrator:
        return None
    session_id = params.get("session_id")
    if session_id is None:
        return "*" if req.has_param("all") else None
    owner = owner_in(session_id)
    return owner if owner != caller.name else None
