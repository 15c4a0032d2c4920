"""A number for each request, in its answer and in every line of the log that it causes."""

from __future__ import annotations

import contextvars
import logging
import re
import secrets
import time
from typing import TYPE_CHECKING

from moonlight_http.identity import from_proxy

if TYPE_CHECKING:
    import falcon

    from moonlight_http.peers import Proxies

HEADER = "X-Request-Id"
_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")
_NONE = "-"
_current: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default=_NONE)
_log = logging.getLogger("moonlight_http.access")


def current() -> str:
    """The id of the request that this thread answers; ``-`` outside of one."""
    return _current.get()


class LogFilter(logging.Filter):
    """Gives every record of a log the attribute ``request_id``."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let everything pass."""
        record.request_id = current()
        return True


class RequestIds:
    """Middleware that numbers requests, and writes a line for each into the log.

    An id that a proxy of ours sends is kept, so that its log and ours can be read together.
    """

    def __init__(self, proxies: Proxies) -> None:
        self._proxies = proxies

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Number it."""
        told = req.get_header(HEADER) or ""
        keep = _ID.fullmatch(told) and from_proxy(req, self._proxies)
        request_id = told if keep else secrets.token_hex(8)
        req.context.request_id = request_id
        req.context.begun = time.monotonic()
        _current.set(request_id)
        resp.set_header(HEADER, request_id)

    def process_response(self, req: falcon.Request, resp: falcon.Response, *_: object) -> None:
        """Write the line. No query and no header: they may hold what is nobody's business."""
        caller = getattr(req.context, "caller", None)
        took_ms = (time.monotonic() - req.context.begun) * 1000
        path = req.path if req.path.isprintable() else repr(req.path)
        _log.info(
            "%s %s %d by %s from %s in %.1f ms",
            req.method,
            path[:200],
            resp.status_code,
            caller.name if caller else _NONE,
            client_address(req, self._proxies),
            took_ms,
        )
        _current.set(_NONE)


def client_address(req: falcon.Request, proxies: Proxies) -> str:
    """Where a request came from: what the proxy says, or the other end of the connection."""
    if from_proxy(req, proxies):
        told = req.get_header("X-Real-IP") or ""
        if re.fullmatch(r"[0-9A-Fa-f.:]{2,45}", told):
            return told
    return str(req.env.get("REMOTE_ADDR", _NONE))
