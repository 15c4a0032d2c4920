"""Desktops that nobody is connected to: one ends, who is there stays, whoever comes is in time."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from on_cluster import Api, run, wait_for
from streaming import Viewer, shown_in, viewer_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def viewer(api: Callable[[str], Api], tmp_path: Path) -> Iterator[Viewer]:
    """A client of alice's session that may be idle for a minute."""
    yield from viewer_of(api("alice"), tmp_path, idle_minutes=1)


def said(session_id: str) -> str:
    """A session's log."""
    return Path(f"/scratch/sunshine_logs/{session_id}.log").read_text("utf-8", "replace")


def wish_end(job_id: int) -> None:
    """Wish for what the service does not wish for; its next round takes that back."""
    mark = re.search(r"AdminComment=(.*)", run("scontrol", "show", "job", str(job_id)))
    assert mark
    wish = f"{mark[1].removesuffix(' end=idle')} end=idle"
    run("scontrol", "update", f"JobId={job_id}", f"AdminComment={wish}")
    run("scancel", "--signal=USR2", "--batch", str(job_id))


def notices(viewer: Viewer) -> int:
    """How many notices the desktop shows."""
    windows = shown_in(viewer, "windows")
    return len(re.findall(r"notifyd.* [1-9]\d\d+x\d+\+", windows))


def reap(*arguments: str) -> Any:
    """The command, with its JSON answer."""
    answer = run(
        *(sys.executable, "-m", "moonlight_core", "--json", "reap", *arguments),
        env=os.environ | {"PYTHONPATH": "/src"},
        cwd="/",
    )
    return {each["session_id"]: each for each in json.loads(answer)}


@pytest.mark.slow  # idle time is in minutes
def test_an_idle_desktop_ends_and_no_other(viewer: Viewer, api: Callable[[str], Api]) -> None:
    """A minute with nobody; somebody; no limit; and whoever left and came back in time."""
    bob = api("bob")
    idle, free = (bob.create("bare", idle_minutes=minutes)["session_id"] for minutes in (1, 0))
    for session_id in (idle, free):
        bob.wait(session_id, "running")
    viewer.client.launch("Desktop", "640x480x30")
    with viewer.client.stream():
        viewer.wait(lambda seen: seen["clients_connected"] == 1)
        viewer.wait(lambda seen: seen["idle_ends_at"] is None)
        # Of a minute, all is warning: it is known when it ends, and the desktop says so.
        seen = wait_for(lambda: bob.get(idle), lambda seen: seen["idle_ends_at"])
        assert seen["idle_ends_at"] > seen["ready_at"]
        assert seen["idle_minutes"] == 1
        wait_for(lambda: said(idle), lambda text: "shown in the desktop: This desktop ends" in text)
        told = reap("--dry-run")
        assert told[viewer.session_id]["verdict"] == "Somebody is connected."
        assert "as long as" in told[free]["verdict"]
        assert re.search(r"It ends (in \d min|now) by 1 min without anybody", told[idle]["verdict"])
        # Whoever decides too late is told no by the script itself, on the node.
        wait_for(
            lambda: wish_end(viewer.made["job_id"]) or said(viewer.session_id),
            lambda text: "not ended after all" in text,
        )
        ended = wait_for(lambda: bob.get(idle), lambda seen: seen["status"] == "stopped", 120)
        assert "Nobody was connected for 1 min:" in ended["reason"]
        assert (ended["exit_code"], ended["slurm_state"]) == (0, "COMPLETED")
        assert ended["stopped_at"][:19] >= seen["idle_ends_at"][:19]
        assert viewer.session()["status"] == "running"
        assert bob.get(free)["status"] == "running"
    # From when the client has left it counts anew.
    seen = viewer.wait(lambda seen: seen["idle_ends_at"] is not None)
    assert seen["idle_ends_at"] > seen["last_connected_at"] > seen["ready_at"]
    wait_for(
        lambda: said(viewer.session_id).count("This desktop ends at"), lambda count: count >= 2
    )
    assert notices(viewer) == 1
    viewer.client.launch("Desktop", "640x480x30")
    with viewer.client.stream():
        viewer.wait(lambda seen: seen["idle_ends_at"] is None)
        wait_for(lambda: notices(viewer), lambda count: count == 0)
