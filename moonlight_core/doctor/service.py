"""The HTTP service and the proxy before it."""

from __future__ import annotations

import http.client
import ipaddress
import json
import socket
import stat
from typing import TYPE_CHECKING

from moonlight_core.doctor.finding import Finding, Grade, green, red, yellow
from moonlight_core.errors import SettingsError
from moonlight_core.secret import read_secret

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from moonlight_core.doctor.site import Site

_ANSWER_S = 5
_MANY_ADDRESSES = 256


def answers(site: Site) -> Iterator[Finding]:
    """It runs, and is ours."""
    service = site.settings.service
    if service.host:
        connection = http.client.HTTPConnection(service.host, service.port, timeout=_ANSWER_S)
        yield _answer(f"service on {service.host}:{service.port}", connection)
    elif service.socket:
        yield _answer(f"service on {service.socket}", _UnixConnection(str(service.socket)))


def users(site: Site) -> Iterator[Finding]:
    """Users' commands reach it."""
    path = site.settings.service.users_socket
    if path is None:
        return
    found = _answer(f"users' socket {path}", _UnixConnection(str(path)))
    closed = _closed_to_users(path) if found.grade is Grade.GREEN else ""
    if closed:
        told = "It answers root, but users cannot connect to it."
        found = yellow(found.subject, told, closed)
    yield found


def _closed_to_users(path: Path) -> str:
    """How to let users get to a socket; empty when they do."""
    for folder in path.parents:
        if not folder.stat().st_mode & stat.S_IXOTH:
            return f"chmod o+x {folder}"
    return "" if path.stat().st_mode & stat.S_IWOTH else f"chmod 666 {path}"


def _answer(subject: str, connection: http.client.HTTPConnection) -> Finding:
    try:
        connection.request("GET", "/health")
        document = json.loads(connection.getresponse().read())
        name, status = document["service"], document["status"]
    except OSError as exc:
        return yellow(
            subject,
            f"It does not answer ({exc}).",
            "systemctl start moonlight_8004, or `moonlight serve` by hand; its log tells more.",
        )
    except (http.client.HTTPException, ValueError, KeyError, TypeError):
        name, status = "something else", ""
    finally:
        connection.close()
    if name != "moonlight_backend":
        return red(subject, f"{name} answers there.", "Stop it, or set [service] port.")
    if status == "ok":
        return green(subject, "It answers, and is well.")
    told = "; ".join(f"{key}: {value}" for key, value in document.get("checks", {}).items())
    return yellow(subject, f"It answers, and is {status}: {told}.", "Mend what it names.")


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over the service's socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_ANSWER_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_ANSWER_S)
        self.sock.connect(self._path)


def proxy(site: Site) -> Iterator[Finding]:
    """Who may say who is asking."""
    service = site.settings.service
    if service.identity == "jwt":
        yield _key(site)
    else:
        yield _trusted(site)
    if service.host and not _is_loopback(service.host):
        yield yellow(
            "address",
            f"The service listens on {service.host}, which others than the proxy can reach.",
            'Set [service] host = "127.0.0.1", or socket, behind a proxy on this machine; or let a '
            "firewall allow the proxy alone.",
        )


def _trusted(site: Site) -> Finding:
    service = site.settings.service
    subject = "trusted proxies"
    networks = [ipaddress.ip_network(text, strict=False) for text in service.trusted_proxies]
    wide = [str(network) for network in networks if network.num_addresses >= _MANY_ADDRESSES]
    if wide:
        return red(
            subject,
            f"[service] trusted_proxies has {', '.join(wide)}: everybody there may be anybody.",
            "Name the proxy's own address, or set [service] proxy_secret_file.",
        )
    away = [str(network) for network in networks if not network.is_loopback]
    if away and service.proxy_secret_file is None:
        return yellow(
            subject,
            f"Whoever is on {', '.join(away)} may name any user: of another host the account that "
            "asks cannot be known.",
            "Set [service] proxy_secret_file, and let the proxy send it (docs/security.md).",
        )
    if service.proxy_secret_file is not None:
        try:
            read_secret(service.proxy_secret_file)
        except SettingsError as exc:
            return red(subject, exc.faults[0], "One line, owned by root, mode 600.")
    if not networks and service.socket is None:
        return yellow(
            subject,
            "[service] trusted_proxies is empty and there is no socket: nobody can say who asks.",
            "Name the proxy's address, or set [service] socket.",
        )
    sources = [*service.trusted_proxies, *filter(None, [str(service.socket or "")])]
    return green(
        subject,
        f"The header {service.user_header} is taken from the proxy alone ({', '.join(sources)}).",
    )


def _key(site: Site) -> Finding:
    jwt = site.settings.jwt
    path = jwt.key_file or jwt.jwks_file
    shared = jwt.algorithm.startswith("HS") and jwt.key_file is not None
    try:
        if shared and path is not None:
            read_secret(path)
        elif path is not None:
            path.read_bytes()
    except SettingsError as exc:
        return red("tokens", exc.faults[0], "One line, owned by root, mode 600.")
    except OSError as exc:
        return red(
            "tokens",
            f"The key that signs them cannot be read: {path}: {exc.strerror}.",
            "Put the portal's public key there, or set [jwt] key_file or jwks_file.",
        )
    return green("tokens", f"{jwt.algorithm}, of {jwt.issuer} for {jwt.audience}; key {path}.")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
