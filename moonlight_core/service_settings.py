"""The settings of the HTTP service: where it listens, whom it believes, what it lets in."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator

USERS_SOCKET = Path("/run/moonlight/users.sock")
"""Where the users' socket is at a site that does not let users read its configuration."""
_LAST_PORT = 65535
ALGORITHMS = (
    *("HS256", "HS384", "HS512", "RS256", "RS384", "RS512"),
    *("PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"),
)
"""Signatures of tokens that can be asked for (RFC 7518, RFC 8037); ``none`` is not among them."""


def option(default: Any, help_text: str) -> Any:
    """One setting: its default and the sentence that every help page shows for it."""
    return attrs.field(default=default, metadata={"help": help_text})


@attrs.frozen(kw_only=True)
class ServiceSettings:
    """``[service]``: the HTTP service and who may speak through it."""

    host: str = option("127.0.0.1", "address the service listens on; empty for the socket alone")
    port: int = option(8004, "TCP port the service listens on")
    socket: Path | None = option(
        None, "unix socket the service listens on as well, for the site's proxy"
    )
    socket_group: str = option("", "group that may connect to that socket: the proxy's")
    users_socket: Path | None = option(
        None, "unix socket for the commands of this host's ordinary users; empty for none"
    )
    threads: int = option(16, "requests answered at the same time")
    waiting: int = option(32, "requests that may wait for a session besides; a quarter each user")
    identity: str = option("header", "how callers are known: header (of a proxy) or jwt")
    user_header: str = option("X-Remote-User", "header in which the proxy names the user")
    trusted_proxies: tuple[str, ...] = option(
        ("127.0.0.1", "::1"), "addresses that may set that header; from others it is refused"
    )
    trusted_users: tuple[str, ...] = option(
        ("www-data", "nginx", "apache", "http"),
        "accounts of this host whose processes may set it; root and the service's own always may",
    )
    proxy_secret_file: Path | None = option(
        None, "file with a secret that the proxy must send in X-Moonlight-Proxy-Secret"
    )
    single_user: bool = option(
        default=False, help_text="everything runs as one account, the service's own, without root"
    )
    administrators: tuple[str, ...] = option((), "users who see and end everybody's sessions")
    administrators_group: str = option("", "Unix group whose members are administrators as well")
    secret_file: Path = option(
        Path("/etc/moonlight/secret"), "file with the service's secret, readable by it alone"
    )
    log_format: str = option("text", "lines of the service's log: text or json")
    audit_log: Path | None = option(
        None, "file in which each act of an administrator is written; none: the service's log"
    )
    allowed_origins: tuple[str, ...] = option(
        (), "web sites whose pages may call the service from a browser: https://portal.example.org"
    )
    request_timeout_s: int = option(30, "seconds a client has to send a whole request")
    reconcile_interval_s: float = option(1.0, "seconds between two rounds of reconcile")
    max_body_bytes: int = option(65536, "largest request body accepted, in bytes")
    show_credentials: bool = option(
        default=True, help_text="whether users see the password of their Sunshine's web interface"
    )
    screenshots: bool = option(
        default=True, help_text="whether users get pictures of their desktops, for a dashboard"
    )
    screenshot_every_s: int = option(5, "seconds for which a picture is kept and none is made")
    administrators_look: bool = option(
        default=False, help_text="whether administrators get others' pictures and logs"
    )


@attrs.frozen(kw_only=True)
class JwtSettings:
    """``[jwt]``: the tokens by which callers are known when ``[service] identity`` is jwt."""

    algorithm: str = option("RS256", "the one signature accepted: HS256, RS256, ES256, EdDSA, …")
    key_file: Path | None = option(None, "public key in PEM; for HS256 the shared secret")
    jwks_file: Path | None = option(None, "instead of key_file: a JSON Web Key Set")
    audience: str = option("", "the aud that a token must be for")
    issuer: str = option("", "the iss that a token must be from")
    user_claim: str = option("sub", "claim with the user name")
    cookie: str = option("", "cookie that may hold the token, beside the Authorization header")
    leeway_s: float = option(10.0, "seconds by which clocks may differ")


def service_faults(service: ServiceSettings, jwt: JwtSettings) -> Iterator[str]:
    """A sentence for every setting of the service that will not do."""
    yield from _listening_faults(service)
    yield from _proxy_faults(service)
    if service.identity == "jwt":
        yield from _jwt_faults(jwt)
    elif service.identity != "header":
        yield f"[service] identity is {service.identity!r}: it is header or jwt."
    for origin in service.allowed_origins:
        parts = urlsplit(origin)
        if parts.scheme not in ("https", "http") or origin != f"{parts.scheme}://{parts.netloc}":
            yield (
                f"[service] allowed_origins has {origin!r}: a scheme and a host are wanted, as "
                "https://portal.example.org, without a path and without *."
            )


def _listening_faults(service: ServiceSettings) -> Iterator[str]:
    if not 1 <= service.port <= _LAST_PORT:
        yield f"[service] port is {service.port}: a TCP port is 1 to 65535."
    if not (service.host or service.socket or service.users_socket):
        yield "[service] host and both sockets are empty: the service would listen nowhere."
    if service.log_format not in ("text", "json"):
        yield f"[service] log_format is {service.log_format!r}: it is text or json."
    for name in ("socket", "users_socket", "audit_log"):
        path = getattr(service, name)
        if path is not None and not path.is_absolute():
            yield f"[service] {name} is {path}: it must be an absolute path."
    if service.socket is not None and service.socket == service.users_socket:
        yield (
            "[service] socket and users_socket are the same: the proxy names users over one, "
            "nobody may over the other."
        )


def _proxy_faults(service: ServiceSettings) -> Iterator[str]:
    for address in service.trusted_proxies:
        try:
            ipaddress.ip_network(address, strict=False)
        except ValueError:
            yield (
                f"[service] trusted_proxies has {address!r}: an address or network is wanted, as "
                "127.0.0.1 or 10.1.0.0/16."
            )
    if not re.fullmatch(r"[A-Za-z0-9-]+", service.user_header):
        yield (
            f"[service] user_header is {service.user_header!r}: a header's name is made of "
            "letters, digits and -."
        )


def _jwt_faults(jwt: JwtSettings) -> Iterator[str]:
    if jwt.algorithm not in ALGORITHMS:
        yield f"[jwt] algorithm is {jwt.algorithm!r}: it is one of {', '.join(ALGORITHMS)}."
    if (jwt.key_file is None) == (jwt.jwks_file is None):
        yield "[jwt] key_file or jwks_file must be set, and not both: which key signs the tokens?"
    for name, why in (
        ("audience", "a token made for another service would be taken"),
        ("issuer", "a token of anybody with the key would be taken"),
        ("user_claim", "nobody could be known"),
    ):
        if not getattr(jwt, name):
            yield f"[jwt] {name} is empty: without it {why}."
    if jwt.leeway_s < 0:
        yield f"[jwt] leeway_s is {jwt.leeway_s}: it cannot be negative."
    if not re.fullmatch(r"[A-Za-z0-9_-]*", jwt.cookie):
        yield f"[jwt] cookie is {jwt.cookie!r}: a name is made of letters, digits, - and _."
