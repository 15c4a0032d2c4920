"""Faults of the service: killed, restarted, doubled; desktops do not notice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from faults import killed, note
from invariants import desktops, violations, whole_within

if TYPE_CHECKING:
    from collections.abc import Callable

    from on_cluster import Api

pytestmark = pytest.mark.usefixtures("mended")


def test_a_killed_service_comes_back_to_running_sessions(api: Callable[[str], Api]) -> None:
    """SIGKILL; the desktops go on, and are all listed as soon as the service answers."""
    made = [(api(user), api(user).create()) for user in ("alice", "bob")]
    for user, session in made:
        user.wait(session["session_id"], "running")
    before = desktops()
    assert len(before) >= 2
    with killed("moonlight"):
        pass
    note("service killed", whole_s=whole_within(20, survivors=before))
    assert violations() == []
