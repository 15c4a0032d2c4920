"""A running session's Sunshine: watched, started again, and what it tells of its clients."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from on_cluster import SESSIONS, Api, Node, run, wait_for
from streaming import Viewer, of_session, shown_in, viewer_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SUNSHINE = r".*sunshine.* /session/config"
RESTARTS = 3  # [watch] restarts, the default


@pytest.fixture
def desktop(api: Callable[[str], Api]) -> dict[str, Any]:
    """A running session of bob's."""
    bob = api("bob")
    return bob.wait(bob.create("bare")["session_id"], "running")


def restarted(session: dict[str, Any], times: int) -> dict[str, Any]:
    """The session when its Sunshine was started again so often and is ready; it never stops."""
    return wait_for(
        lambda: Api("bob").get(session["session_id"]),
        lambda now: (now["sunshine_restarts"], now["phase"]) == (times, "ready"),
        timeout_s=90,
        stop=lambda now: now["status"] != "running",
    )


def test_a_sunshine_that_dies_or_hangs_is_started_again(
    desktop: dict[str, Any], nodes: dict[str, Node]
) -> None:
    """The desktop and its X server stay; each time is counted, and there is an end to it."""
    node = nodes[desktop["slurm_node"]]
    x, program = (of_session(node, desktop, name) for name in ("Xvfb", "bash -c"))
    first = of_session(node, desktop, SUNSHINE)
    node.run("kill", "-KILL", str(first))
    now = restarted(desktop, 1)
    assert now["reason"] == "Sunshine was started again; connect with Moonlight."
    assert now["connect"] == desktop["connect"]
    # Stopped it is as a hung one: it keeps its ports and answers nothing.
    second = of_session(node, desktop, SUNSHINE)
    assert second != first
    node.run("kill", "-STOP", str(second))
    now = restarted(desktop, 2)
    assert second not in node.processes("bob")
    assert (x, program) == tuple(of_session(node, desktop, name) for name in ("Xvfb", "bash -c"))

    node.run("kill", "-KILL", str(of_session(node, desktop, SUNSHINE)))
    restarted(desktop, RESTARTS)
    node.run("kill", "-KILL", str(of_session(node, desktop, SUNSHINE)))
    ended = wait_for(
        lambda: Api("bob").get(desktop["session_id"]), lambda s: s["status"] == "failed"
    )
    assert ended["error_code"] == "sunshine_died"
    assert ended["error"] == (
        "Sunshine was ended by signal 9 (KILL). It was started again 3 times, as often as is "
        "allowed."
    )
    assert ended["sunshine_restarts"] == RESTARTS
    log = Path(f"/scratch/sunshine_logs/{desktop['session_id']}.log").read_text()
    assert "Sunshine did not answer within 3 s 4 times in a row." in log
    wait_for(lambda: node.processes("bob"), lambda processes: not processes)


def test_a_deaf_sunshine_is_started_again(desktop: dict[str, Any], nodes: dict[str, Node]) -> None:
    """One that lives and listens no more; whoever connects afterwards finds the same host."""
    node = nodes[desktop["slurm_node"]]
    node.run("kill", "-USR1", str(of_session(node, desktop, SUNSHINE)))
    wait_for(node.listeners, lambda listeners: desktop["sunshine_port"] not in listeners)
    restarted(desktop, 1)
    log = Path(f"/scratch/sunshine_logs/{desktop['session_id']}.log").read_text()
    assert "Sunshine took no connections 4 times in a row." in log
    assert desktop["sunshine_port"] in node.listeners()


@pytest.fixture
def viewer(
    api: Callable[[str], Api], tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Viewer]:
    """A paired pretend client of a running session of alice's; forgotten afterwards."""
    yield from viewer_of(api("alice"), tmp_path, **getattr(request, "param", {}))


def test_who_is_there(viewer: Viewer) -> None:
    """Counted while they stream, remembered afterwards, in single answers and in the list."""
    session = viewer.session()
    assert (session["clients_connected"], session["last_connected_at"]) == (0, None)
    assert session["stream_state"] == "free"
    viewer.client.launch("Desktop", "640x480x30")
    with viewer.client.stream():
        session = viewer.wait(lambda s: s["clients_connected"] == 1)
        assert session["stream_state"] == "busy"
        came = session["last_connected_at"]
        assert came >= session["ready_at"][:19]
        listed = viewer.alice("GET", SESSIONS)[1]["sessions"]
        assert next(s for s in listed if s["session_id"] == viewer.session_id) == session
    session = viewer.wait(lambda s: s["clients_connected"] == 0)
    # It has left without quitting: the application is still open.
    assert session["stream_state"] == "busy"
    assert session["last_connected_at"] >= came
    viewer.client.quit()
    viewer.wait(lambda s: s["stream_state"] == "free")
    viewer.alice.delete(viewer.session_id)
    ended = viewer.alice.wait(viewer.session_id, "stopped")
    assert ended["clients_connected"] is None
    assert ended["last_connected_at"] == session["last_connected_at"]


@pytest.mark.parametrize(
    "viewer", [{"x_server": "xvfb"}, {"x_server": "xorg"}], indirect=True, ids=["xvfb", "xorg"]
)
def test_the_desktop_follows_the_client(viewer: Viewer) -> None:
    """And goes back when the application is quit; also a screen that nobody has made modes for."""
    assert shown_in(viewer, "dimensions") == "640x480"
    viewer.client.launch("Desktop", "1366x768x60")
    with viewer.client.stream():
        wait_for(lambda: shown_in(viewer, "dimensions"), lambda size: size == "1366x768")
        for extension in ("MIT-SHM", "XTEST", "RANDR"):
            assert shown_in(viewer, extension) == extension
    viewer.client.quit()
    wait_for(lambda: shown_in(viewer, "dimensions"), lambda size: size == "640x480")
    # Above [sessions] max_width nothing changes, and the client is served all the same.
    viewer.client.launch("Desktop", "7680x4320x60")
    with viewer.client.stream():
        viewer.wait(lambda s: s["clients_connected"] == 1)
        assert shown_in(viewer, "dimensions") == "640x480"
    viewer.client.quit()
    viewer.wait(lambda s: s["stream_state"] == "free")
    viewer.alice.delete(viewer.session_id)
    viewer.alice.wait(viewer.session_id, "stopped")
    log = Path(f"/scratch/sunshine_logs/{viewer.session_id}.log").read_text()
    assert "the desktop has 1366x768 now" in log
    assert "the client has 7680x4320, the desktop stays: it goes up to 3840x2160" in log


def test_the_end_is_announced_and_expires_at_follows_slurm(
    api: Callable[[str], Api], nodes: dict[str, Node]
) -> None:
    """An administrator shortens the time: the answer tells it, and the desktop shows it."""
    alice = api("alice")
    session = alice.wait(alice.create("bare", hours=2)["session_id"], "running")
    run("scontrol", "update", f"JobId={session['job_id']}", "TimeLimit=5")
    now = wait_for(
        lambda: alice.get(session["session_id"]),
        lambda now: now["expires_at"] < session["expires_at"],
    )
    assert re.sub(r":\d\d(\.\d+)?Z$", "", now["expires_at"]) > session["started_at"][:16]
    log = Path(f"/scratch/sunshine_logs/{session['session_id']}.log")
    wait_for(log.read_text, lambda text: "shown in the desktop: This desktop ends in" in text, 120)
    node = nodes[session["slurm_node"]]
    windows = shown_in(Viewer(alice, session, None, node), "windows")  # type: ignore[arg-type]
    assert "notifyd" in windows.lower(), windows
    # More time again: nothing ends.
    run("scontrol", "update", f"JobId={session['job_id']}", "TimeLimit=60")
    wait_for(
        lambda: alice.get(session["session_id"]), lambda s: s["expires_at"] > now["expires_at"]
    )


def test_no_input_device_is_in_the_container_and_sound_and_memory_are_its_own(
    api: Callable[[str], Api], nodes: dict[str, Node]
) -> None:
    """No /dev/uinput; one IPC namespace for X and Sunshine, another than the node's; a sink."""
    bob = api("bob")
    session = bob.wait(bob.create("bare")["session_id"], "running")
    node = nodes[session["slurm_node"]]
    pids = [of_session(node, session, name) for name in ("Xvfb", SUNSHINE)]
    spaces = {node.run("readlink", f"/proc/{pid}/ns/ipc").strip() for pid in pids}
    assert len(spaces) == 1
    assert spaces != {node.run("readlink", "/proc/self/ns/ipc").strip()}
    inside = ("nsenter", "--preserve-credentials", "-U", "-m", "-t", str(pids[1]))
    devices = node.run(*inside, "ls", "/dev", user="bob").split()
    assert "shm" in devices
    assert not {"uinput", "input"} & set(devices)
    version = json.loads(Path("/opt/apptainers/sunshine_xfce4.sif.json").read_text())
    assert session["sunshine_version"].split("+")[0] in version["sunshine_version"]
    assert session["input"].split(":")[0] in ("none", "xtest")
    sinks = shown_in(Viewer(bob, session, None, node), "sinks")  # type: ignore[arg-type]
    assert "desktop" in sinks
