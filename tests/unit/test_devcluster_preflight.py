"""Obstacles are recognised from what the system's own files say."""

from __future__ import annotations

import ipaddress

import pytest

from devcluster import preflight

TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:18EB 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1
   1: 00000000:1AA1 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2 1
   2: 0100007F:1F44 0100007F:D431 01 00000000:00000000 00:00000000 00000000     0        0 3 1
"""
TCP6 = """\
  sl  local_address                         remote_address                        st
   0: 00000000000000000000000000000000:1F44 00000000000000000000000000000000:0000 0A 0 0 0
   1: 0000000000000000FFFF00000100D50A:1AA3 00000000000000000000000000000000:0000 0A 0 0 0
"""


def test_listeners_are_read_from_both_tables() -> None:
    """Connections do not count; a mapped IPv4 address is one."""
    assert list(preflight.parse_listeners(TCP)) == [("127.0.0.1", 6379), ("*", 6817)]
    assert list(preflight.parse_listeners(TCP6)) == [("*", 8004), ("10.213.0.1", 6819)]


def test_a_redis_of_the_host_is_not_in_the_way() -> None:
    """Ours listens on the bridge; only the same address or a wildcard collides."""
    listeners = [("127.0.0.1", 6379), ("*", 6817)]
    assert not preflight.in_the_way(listeners, "10.213.0.1", 6379)
    assert preflight.in_the_way(listeners, "127.0.0.1", 6379)
    assert preflight.in_the_way(listeners, "10.213.0.1", 6817)


def test_routes_are_read_with_their_masks() -> None:
    """The default route is the network of length 0."""
    table = (
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
        "eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
        "eth1\t0000D50A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n"
    )
    assert list(preflight.parse_routes(table)) == [
        (ipaddress.IPv4Network("0.0.0.0/0"), "eth0"),
        (ipaddress.IPv4Network("10.213.0.0/16"), "eth1"),
    ]


@pytest.mark.parametrize(
    ("os_release", "refused"),
    [
        ('ID=debian\nVERSION_ID="12"\n', False),
        ('ID=debian\nVERSION_ID="13"\n', False),
        ('PRETTY_NAME="Debian GNU/Linux forky/sid"\nID=debian\n', False),
        ('ID=debian\nVERSION_ID="11"\nPRETTY_NAME="Debian GNU/Linux 11 (bullseye)"\n', True),
        ('ID=ubuntu\nID_LIKE=debian\nVERSION_ID="24.04"\nPRETTY_NAME="Ubuntu 24.04"\n', True),
        ("", True),
    ],
)
def test_only_debian_from_12_on_will_do(os_release: str, refused: bool) -> None:  # noqa: FBT001
    """The refusal names what was found."""
    sentence = preflight.distribution_refusal(os_release)
    assert bool(sentence) is refused
    if refused and os_release:
        assert "this machine runs" in sentence
