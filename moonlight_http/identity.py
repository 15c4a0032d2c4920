"""Who is asking: the name in a header that only a trusted proxy may set."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

import attrs
import falcon

from moonlight_core.users import find_user
from moonlight_http.errors import Refusal

if TYPE_CHECKING:
    from collections.abc import Collection


@attrs.frozen(kw_only=True)
class Caller:
    """The user behind a request."""

    name: str
    administrator: bool


def scope(req: falcon.Request) -> str | None:
    """Whose sessions the caller may touch: None for an administrator, who may touch all."""
    caller: Caller = req.context.caller
    return None if caller.administrator else caller.name


class HeaderIdentity:
    """Middleware that puts a ``Caller`` into ``req.context.caller``, or refuses the request.

    A resource with ``public = True`` is answered without.
    """

    def __init__(
        self,
        *,
        header: str,
        trusted_proxies: Collection[str],
        administrators: Collection[str],
        first_uid: int,
    ) -> None:
        self._header = header
        self._trusted = [ipaddress.ip_network(address, strict=False) for address in trusted_proxies]
        self._administrators = frozenset(administrators)
        self._first_uid = first_uid

    def process_resource(
        self, req: falcon.Request, _resp: falcon.Response, resource: object, _params: object
    ) -> None:
        """Identify the caller before the resource sees the request."""
        if getattr(resource, "public", False):
            return
        name = req.get_header(self._header)
        if name is None:
            raise Refusal(
                falcon.HTTP_401,
                "not_identified",
                f"The request names no user: the site's proxy sets the header {self._header} after "
                "a login. Go through the proxy.",
            )
        if not self._is_trusted(req.env.get("REMOTE_ADDR", "")):
            raise Refusal(
                falcon.HTTP_403,
                "untrusted_proxy",
                f"The header {self._header} is accepted only from the site's proxy, and this "
                "request came from elsewhere.",
            )
        # Several headers of one name arrive as one, separated by commas: no user name has a comma.
        user = find_user(name, first_uid=self._first_uid)
        req.context.caller = Caller(name=user.name, administrator=user.name in self._administrators)

    def _is_trusted(self, address: str) -> bool:
        try:
            peer = ipaddress.ip_address(address)
        except ValueError:
            return False
        mapped = getattr(peer, "ipv4_mapped", None)
        return any((mapped or peer) in network for network in self._trusted)
