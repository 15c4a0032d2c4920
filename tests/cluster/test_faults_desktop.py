"""Faults of what a session is made of: its X server, desktop, Sunshine and batch script die."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

import pytest
from desks import desk, together
from faults import note
from invariants import desktops, whole_within
from streaming import of_session

if TYPE_CHECKING:
    from collections.abc import Mapping

    from on_cluster import Node

pytestmark = pytest.mark.usefixtures("mended")

SUNSHINE = r".*sunshine.* /session/config"


def test_each_part_of_a_session_dies(nodes: Mapping[str, Node]) -> None:
    """By SIGKILL, five at once: each is told by its name, and nothing of it is left."""
    made = together([partial(desk, user) for user in ("alice", "alice", "bob", "bob", "carol")])
    without_x, without_desktop, without_script, sunshine, stays = made
    without_encoder = desk("carol", image={"encoder": "nvenc"})
    before = {stays.session_id: desktops()[stays.session_id]}
    begin = time.monotonic()
    for session, program in (
        (without_x, "Xvfb"),
        (without_desktop, "bash -c"),
        (without_script, "/bin/bash .*slurm_script"),
        (sunshine, SUNSHINE),
    ):
        now = session.now
        node = nodes[now["slurm_node"]]
        node.run("kill", "-KILL", str(of_session(node, now, program)))
    for session, said in (
        (without_x, "The X server was ended by signal 9 (KILL)."),
        (without_desktop, "The desktop was ended by signal 9 (KILL)."),
        (without_script, "The session's processes were killed from outside (signal 9)."),
    ):
        ended = session.ended()
        assert ended["status"] == "failed"
        assert ended["error"].startswith(said)
        note(said.rstrip("."), told_s=time.monotonic() - begin)
    # Sunshine is started again: nobody loses a desktop for it.
    again = sunshine.until(lambda session: session["sunshine_restarts"] == 1)
    again = sunshine.until(lambda session: session["phase"] == "ready")
    assert again["status"] == "running"
    note("Sunshine dies", ready_s=time.monotonic() - begin)
    ended = without_encoder.ended()
    assert ended["status"] == "failed"
    assert "The encoder nvenc does not work on viz" in ended["error"]
    # The directory of a script that was killed is removed by the Epilog.
    note("X server, desktop, script, Sunshine die", whole_s=whole_within(30, survivors=before))
    sunshine.end()
    note("parts of a session: afterwards", whole_s=whole_within(20, survivors=before))
