"""Who is asking: by the site's proxy, by a token, or as the kernel says on the users' socket.

Always an account of this system.
"""

from __future__ import annotations

import hmac
import time
from typing import TYPE_CHECKING, Protocol

import attrs
import falcon

from moonlight_core.errors import UserNotAllowed
from moonlight_core.single_user import own_account
from moonlight_core.users import account_name, find_user
from moonlight_http.errors import Refusal
from moonlight_http.peers import PEER_UID, USERS, Proxies

if TYPE_CHECKING:
    from moonlight_core.administrators import Administrators
    from moonlight_core.secret import Secret

PROXY_SECRET = "X-Moonlight-Proxy-Secret"  # noqa: S105 - the name of a header
_LONGEST_NAME = 64
# How long a caller is taken for whom the system's databases said, in seconds, and of how many that
# is remembered.
_REMEMBER_S = 2.0
_MOST_REMEMBERED = 10_000


@attrs.frozen(kw_only=True)
class Caller:
    """The user behind a request."""

    name: str
    administrator: bool


def scope(req: falcon.Request) -> str | None:
    """Whose sessions the caller may touch: None for an administrator, who may touch all."""
    caller: Caller = req.context.caller
    return None if caller.administrator else caller.name


class Source(Protocol):
    """A way to know callers."""

    def name(self, req: falcon.Request) -> str:
        """The name of whoever sent a request.

        Raises:
            Refusal: the request does not tell, or it may not.
            UserNotAllowed: it comes from no account that could be meant.
        """


class HeaderIdentity:
    """The name in a header that only the site's proxy may set; from elsewhere it is refused."""

    def __init__(self, *, header: str, proxies: Proxies, proxy_secret: Secret | None) -> None:
        self._header = header
        self._proxies = proxies
        self._secret = proxy_secret

    def name(self, req: falcon.Request) -> str:
        """See ``Source.name``."""
        name = req.get_header(self._header)
        if name is None:
            raise Refusal(
                falcon.HTTP_401,
                "not_identified",
                f"The request names no user: the site's proxy sets the header {self._header} after "
                "a login. Go through the proxy.",
            )
        if not from_proxy(req, self._proxies) or not self._knows_secret(req):
            raise Refusal(
                falcon.HTTP_403,
                "untrusted_proxy",
                f"The header {self._header} is accepted only from the site's proxy, and this "
                "request came from elsewhere.",
            )
        # Several headers of one name arrive as one, separated by commas: no user name has a comma.
        return name

    def _knows_secret(self, req: falcon.Request) -> bool:
        if self._secret is None:
            return True
        told = (req.get_header(PROXY_SECRET) or "").encode()
        return hmac.compare_digest(told, self._secret.reveal().encode())


class OwnAccount:
    """On the users' socket everybody is the account that connected, whatever a request says.

    What would name somebody is refused rather than passed over: who sends it expects to be that
    one. Elsewhere callers are known as ``otherwise`` knows them.
    """

    def __init__(self, otherwise: Source, *, header: str, cookie: str) -> None:
        self._otherwise = otherwise
        self._headers = (header, PROXY_SECRET, "Authorization")
        self._cookie = cookie

    def name(self, req: falcon.Request) -> str:
        """See ``Source.name``."""
        if req.env.get("REMOTE_ADDR") != USERS:
            return self._otherwise.name(req)
        told = [f"header {name}" for name in self._headers if req.get_header(name) is not None]
        if self._cookie and req.get_cookie_values(self._cookie) is not None:
            told.append(f"cookie {self._cookie}")
        if told:
            raise Refusal(
                falcon.HTTP_403,
                "untrusted_proxy",
                f"Over this socket everybody is the account that connects: the {told[0]} names "
                "nobody here. Leave it out.",
            )
        uid = req.env.get(PEER_UID)
        if uid is None:
            raise UserNotAllowed("The system does not tell which account this comes from.")
        return account_name(uid)


def from_proxy(req: falcon.Request, proxies: Proxies) -> bool:
    """Whether a request came from one of the site's proxies."""
    return proxies.trusts(req.env.get("REMOTE_ADDR", ""), req.env.get(PEER_UID))


class Identity:
    """Middleware that puts a ``Caller`` into ``req.context.caller``, or refuses the request.

    A resource with ``public = True`` is answered without, and so is the question which methods an
    address takes.
    """

    def __init__(
        self,
        source: Source,
        administrators: Administrators,
        *,
        first_uid: int,
        single_user: bool = False,
    ) -> None:
        self._single_user = single_user
        self._source = source
        self._administrators = administrators
        self._first_uid = first_uid
        self._known: dict[str, tuple[float, Caller]] = {}

    def process_resource(
        self, req: falcon.Request, _resp: falcon.Response, resource: object, _params: object
    ) -> None:
        """Identify the caller before the resource sees the request."""
        if getattr(resource, "public", False) or req.method == "OPTIONS":
            return
        name = self._source.name(req)
        if len(name) > _LONGEST_NAME:
            raise Refusal(
                falcon.HTTP_403, "user_not_allowed", "The user name is too long to be one."
            )
        req.context.caller = self._caller(name, may_remember=req.method in ("GET", "HEAD"))

    def _caller(self, name: str, *, may_remember: bool) -> Caller:
        """Who that is, as the system's databases say: now, or ``_REMEMBER_S`` ago at most.

        A site's directory may be a network away, and dashboards ask every second. Whatever changes
        something is asked for anew.
        """
        until, caller = self._known.get(name, (0.0, None))
        now = time.monotonic()
        if caller is None or not may_remember or now >= until:
            resolve = own_account if self._single_user else find_user
            user = resolve(name, first_uid=self._first_uid)
            caller = Caller(name=user.name, administrator=self._administrators.include(user))
            if len(self._known) >= _MOST_REMEMBERED:
                self._known.clear()
            self._known[name] = (now + _REMEMBER_S, caller)
        return caller
