"""Ports on this machine: reserved from those that the kernel hands out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from moonlight_core import ports as arithmetic
from moonlight_core.doctor.finding import Finding, green, yellow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moonlight_core.doctor.site import Site
    from moonlight_core.settings import Settings

_IPV4 = Path("/proc/sys/net/ipv4")


def reserved(site: Site) -> Iterator[Finding]:
    """A program that is handed one of Sunshine's ports would block a slot."""
    unreserved = unreserved_ports(
        site.settings,
        reserved=(_IPV4 / "ip_local_reserved_ports").read_text(),
        handed_out=(_IPV4 / "ip_local_port_range").read_text(),
    )
    yield finding("reserved ports here", site.settings, unreserved)


def finding(subject: str, settings: Settings, unreserved: list[int]) -> Finding:
    """What that means."""
    lowest, highest = span(settings)
    if not unreserved:
        return green(subject, f"The kernel hands out none of {lowest}-{highest}.")
    return yellow(
        subject,
        f"The kernel hands out {len(unreserved)} of Sunshine's ports to anybody: now and then a "
        "slot is blocked by one.",
        f"deploy/sysctl/90-moonlight.conf: net.ipv4.ip_local_reserved_ports = {lowest}-{highest} "
        "(added to what is reserved already), on the head and on each viz node.",
    )


def span(settings: Settings) -> tuple[int, int]:
    """The lowest and the highest port that a session may use."""
    offsets = arithmetic.TCP_OFFSETS + arithmetic.UDP_OFFSETS
    slots = settings.slots
    return slots.first_port + min(offsets), slots.last_port + max(offsets)


def unreserved_ports(settings: Settings, *, reserved: str, handed_out: str) -> list[int]:
    """Ports of sessions that the kernel may give to anybody.

    Args:
        settings: the configuration.
        reserved: text of /proc/sys/net/ipv4/ip_local_reserved_ports.
        handed_out: text of /proc/sys/net/ipv4/ip_local_port_range.
    """
    first, last = (int(word) for word in handed_out.split())
    kept: set[int] = set()
    for part in filter(None, reserved.strip().split(",")):
        begin, _, end = part.partition("-")
        kept.update(range(int(begin), int(end or begin) + 1))
    slots = settings.slots
    displays = slots.last_display - slots.first_display + 1
    used = {
        port
        for base in arithmetic.pack(slots.first_port, slots.last_port, displays)
        for port in (*arithmetic.tcp_ports(base), *arithmetic.udp_ports(base))
    }
    return sorted(port for port in used if first <= port <= last and port not in kept)
