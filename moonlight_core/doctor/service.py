"""The HTTP service and the proxy before it."""

from __future__ import annotations

import http.client
import ipaddress
import json
from typing import TYPE_CHECKING

from moonlight_core.doctor.finding import Finding, green, red, yellow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moonlight_core.doctor.site import Site

_ANSWER_S = 5
_MANY_ADDRESSES = 256


def answers(site: Site) -> Iterator[Finding]:
    """It runs, and is ours."""
    service = site.settings.service
    subject = f"service on {service.host}:{service.port}"
    connection = http.client.HTTPConnection(service.host, service.port, timeout=_ANSWER_S)
    try:
        connection.request("GET", "/health")
        document = json.loads(connection.getresponse().read())
        name, status = document["service"], document["status"]
    except OSError as exc:
        yield yellow(
            subject,
            f"It does not answer ({exc}).",
            "systemctl start moonlight_8004, or `moonlight serve` by hand; its log tells more.",
        )
        return
    except (http.client.HTTPException, ValueError, KeyError, TypeError):
        name, status = "something else", ""
    finally:
        connection.close()
    if name != "moonlight_backend":
        yield red(subject, f"{name} answers there.", "Stop it, or set [service] port.")
    elif status == "ok":
        yield green(subject, "It answers, and is well.")
    else:
        told = "; ".join(f"{key}: {value}" for key, value in document.get("checks", {}).items())
        yield yellow(subject, f"It answers, and is {status}: {told}.", "Mend what it names.")


def proxy(site: Site) -> Iterator[Finding]:
    """Who may say who is asking."""
    service = site.settings.service
    networks = [ipaddress.ip_network(text, strict=False) for text in service.trusted_proxies]
    wide = [str(network) for network in networks if network.num_addresses >= _MANY_ADDRESSES]
    if wide:
        yield red(
            "trusted proxies",
            f"[service] trusted_proxies has {', '.join(wide)}: everybody there may be anybody.",
            "Name the proxy's own address.",
        )
    elif not networks:
        yield yellow(
            "trusted proxies",
            "[service] trusted_proxies is empty: nobody can say who is asking by a header.",
            "Name the proxy's address.",
        )
    else:
        yield green(
            "trusted proxies",
            f"The header {service.user_header} is taken from {', '.join(service.trusted_proxies)}.",
        )
    if not _is_loopback(service.host):
        yield yellow(
            "address",
            f"The service listens on {service.host}, which others than the proxy can reach.",
            'Set [service] host = "127.0.0.1" behind a proxy on this machine, or let a firewall '
            "allow the proxy alone.",
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
