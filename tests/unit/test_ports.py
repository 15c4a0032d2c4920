"""Port arithmetic: packing finds the most base ports, and never two that clash."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moonlight_core import ports


def test_the_differences_that_clash() -> None:
    """The differences seen on real Sunshines, and only they."""
    assert {0, 1, 2, 5, 6, 20, 21, 26} == ports.CLASHES


def test_the_sites_range_holds_six() -> None:
    """The packing of the default range is the known one."""
    assert ports.pack(47989, 48010, 90) == (47989, 47992, 47996, 47999, 48003, 48006)


def test_no_more_than_asked_for() -> None:
    """The pass ends early when enough ports are found."""
    assert len(ports.pack(20000, 65000, 10)) == 10


@pytest.mark.parametrize("offset", [0, 17, 1000])
def test_packing_does_not_depend_on_where_the_range_lies(offset: int) -> None:
    """A moved range packs alike."""
    moved = ports.pack(2000 + offset, 2030 + offset, 99)
    assert [port - offset for port in moved] == list(ports.pack(2000, 2030, 99))


@given(st.integers(1029, 65000), st.integers(0, 14))
def test_packing_is_as_good_as_trying_everything(first: int, span: int) -> None:
    """Against brute force over all subsets of small ranges."""
    packed = ports.pack(first, first + span, 99)
    assert not any(ports.clash(one, other) for one, other in combinations(packed, 2))
    candidates = range(first, first + span + 1)
    for chosen in combinations(candidates, len(packed) + 1):
        assert any(ports.clash(one, other) for one, other in combinations(chosen, 2))
    first_best = next(
        chosen
        for chosen in combinations(candidates, len(packed))
        if not any(ports.clash(one, other) for one, other in combinations(chosen, 2))
    )
    assert packed == first_best


@given(st.integers(1029, 60000), st.integers(1029, 60000))
def test_clash_is_exactly_a_shared_socket(one: int, other: int) -> None:
    """Two base ports clash when their TCP or their UDP sockets meet."""
    shared = set(ports.tcp_ports(one)) & set(ports.tcp_ports(other)) or set(
        ports.udp_ports(one)
    ) & set(ports.udp_ports(other))
    assert ports.clash(one, other) == bool(shared)
