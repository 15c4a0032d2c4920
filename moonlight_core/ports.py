"""GameStream port arithmetic: which base ports can live on one host.

Sunshine with base port P listens on TCP P-5 (HTTPS), P (HTTP), P+1 (web interface and API) and P+21
(RTSP), and while somebody streams on UDP P+9 (video), P+10 (control) and P+11 (audio). Source:
Sunshine's documentation of the setting ``port``, and seen on a running one.
"""

from __future__ import annotations

from functools import lru_cache

TCP_OFFSETS = (-5, 0, 1, 21)
UDP_OFFSETS = (9, 10, 11)
DEFAULT_BASE_PORT = 47989
# Outside of this Sunshine falls back to DEFAULT_BASE_PORT without a word.
LOWEST_BASE_PORT = 1029
HIGHEST_BASE_PORT = 65514

CLASHES = frozenset(
    abs(one - other)
    for offsets in (TCP_OFFSETS, UDP_OFFSETS)
    for one in offsets
    for other in offsets
)
"""Differences of base ports at which two Sunshines want the same socket (0 among them)."""

_REACH = max(CLASHES)
_WINDOW = (1 << _REACH) - 1
# Bit d-1 is set for each clashing difference d: where a window of the ports just below has the same
# bit, the next port cannot be taken.
_CLASH_BITS = sum(1 << (difference - 1) for difference in CLASHES if difference)


def tcp_ports(base_port: int) -> tuple[int, ...]:
    """The TCP ports of a Sunshine with this base port."""
    return tuple(base_port + offset for offset in TCP_OFFSETS)


def udp_ports(base_port: int) -> tuple[int, ...]:
    """The UDP ports of a Sunshine with this base port; bound only while somebody streams."""
    return tuple(base_port + offset for offset in UDP_OFFSETS)


def clash(one: int, other: int) -> bool:
    """Whether two base ports cannot be used on one host at once."""
    return abs(one - other) in CLASHES


@lru_cache(maxsize=16)
def pack(first_port: int, last_port: int, most: int) -> tuple[int, ...]:
    """The largest set of base ports in a range that can all be used on one host at once.

    Of several largest sets the one with the lowest ports is taken. Whether a port may join depends
    only on the chosen ports within the 26 below it, so one pass over the range that remembers the
    best choice for each such window finds the optimum, whatever the range.

    Args:
        first_port: lowest base port allowed.
        last_port: highest base port allowed.
        most: no more ports than this are needed; the pass ends when they are found.
    """
    # A choice is a number with one bit a port, the lowest port at the top, so that of two choices
    # of the same size the greater number is the one with the lower ports.
    best: dict[int, tuple[int, int]] = {0: (0, 0)}
    size = chosen = 0
    end = first_port
    for port in range(first_port, last_port + 1):
        following: dict[int, tuple[int, int]] = {}
        for window, (count, bits) in best.items():
            options = [(count, bits << 1)]
            if not window & _CLASH_BITS:
                options.append((count + 1, bits << 1 | 1))
            for option in options:
                near = option[1] & _WINDOW
                if option > following.get(near, (-1, 0)):
                    following[near] = option
        best = following
        size, chosen = max(best.values())
        end = port
        if size >= most:
            break
    return tuple(end - bit for bit in range(end - first_port, -1, -1) if chosen >> bit & 1)
