"""What browsers must be told, and what other people's pages must not do through them."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import falcon

from moonlight_http.errors import Refusal

if TYPE_CHECKING:
    from collections.abc import Collection

_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
# OWASP REST Security Cheat Sheet: answers are data for one user, never a page.
_HEADERS = (
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Referrer-Policy", "no-referrer"),
)


class SecurityHeaders:
    """Middleware that has no answer kept, framed, sniffed or loaded into a page."""

    def __init__(self, allowed_origins: Collection[str]) -> None:
        self._varies = bool(allowed_origins)

    def process_response(self, _req: falcon.Request, resp: falcon.Response, *_: object) -> None:
        """Add the headers."""
        for name, value in _HEADERS:
            resp.set_header(name, value)
        if self._varies:
            resp.append_header("Vary", "Origin")
        if resp.get_header("Cache-Control") is None:
            resp.set_header("Cache-Control", "no-store")


class CrossSite:
    """Middleware that refuses changes which a page of another site asks a browser for.

    The user's login at the portal would go with them. A browser says where the page is from
    (Fetch Metadata; Origin in old ones), and no page can make it say otherwise; programs say
    nothing.
    """

    def __init__(self, allowed_origins: Collection[str]) -> None:
        self._allowed = frozenset(allowed_origins)

    def process_request(self, req: falcon.Request, _resp: falcon.Response) -> None:
        """Look where a change comes from."""
        if req.method in _SAFE_METHODS:
            return
        origin = req.get_header("Origin")
        if origin in self._allowed:
            return
        site = req.get_header("Sec-Fetch-Site")
        if site in ("same-origin", "none"):
            return
        if site is None and (origin is None or urlsplit(origin).netloc == req.get_header("Host")):
            return
        raise Refusal(
            falcon.HTTP_403,
            "cross_site",
            "A page of another site asked for this. If it shall be able to, the administrators add "
            "it to [service] allowed_origins.",
        )
