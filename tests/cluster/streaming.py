"""A pretend Moonlight client that streams a session, and looks into the session's display."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from on_cluster import SESSIONS, Api, Node, wait_for
from sunshine_standin.standin.client import Client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RECORD = Path("/opt/apptainers/sunshine_xfce4.sif.json")
SESSION_DIRS = "/scratch/sunshine_sessions"
_LOOKS = {
    "windows": "xwininfo -root -tree",
    "keyboard": "setxkbmap -query",
    "sinks": "PULSE_SERVER=unix:/session/run/pulse/native PULSE_COOKIE=/session/pulse-cookie"
    " pactl list short sinks",
}


@attrs.frozen
class Viewer:
    """A running session, and a client that is paired with it."""

    alice: Api
    made: dict[str, Any]
    client: Client
    node: Node

    @property
    def session_id(self) -> str:
        """The session's id."""
        return str(self.made["session_id"])

    def session(self) -> dict[str, Any]:
        """The session as it is now."""
        return self.alice.get(self.session_id)

    def wait(self, good: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait until the session is as wanted."""
        return dict(wait_for(self.session, good))


def viewer_of(alice: Api, folder: Path, **options: Any) -> Iterator[Viewer]:
    """Pair a client with a new session; it is forgotten afterwards, for pairings persist."""
    if "standin" not in json.loads(RECORD.read_text("utf-8"))["sunshine_version"]:
        pytest.skip("the pretend client speaks to the stand-in alone")
    made = alice.wait(alice.create("bare", **options)["session_id"], "running")
    client = Client(made["connect"]["host"], made["connect"]["port"], folder / "client")
    asking = threading.Thread(target=client.pair, args=("0214", 30), daemon=True)
    asking.start()
    path = f"{SESSIONS}/{made['session_id']}"
    status, answer = alice("POST", f"{path}/pair", {"pin": "0214", "name": "viewer"})
    assert status == 200, answer
    asking.join(10)
    yield Viewer(alice, made, client, Node(made["slurm_node"]))
    status, answer = alice("GET", f"{path}/clients")
    for paired in answer.get("clients", ()):
        alice("DELETE", f"{path}/clients/{paired['uuid']}")


def shown_in(viewer: Viewer, what: str) -> str:
    """What a program sees on the session's display, with the session's own cookie.

    Args:
        viewer: the session; the client is not needed.
        what: ``dimensions`` of the screen, ``windows``, ``keyboard``, ``sinks``, or the name of an
            extension.
    """
    session = viewer.made
    command = _LOOKS.get(what, "xdpyinfo -queryExtensions")
    text = viewer.node.run(
        *("sh", "-c"),
        f"cd / && apptainer --quiet exec --bind {SESSION_DIRS}/{session['session_id']}:/session"
        f" /opt/apptainers/sunshine_xfce4.sif env DISPLAY=:{session['display_num']}"
        f" XAUTHORITY=/session/xauthority sh -c '{command}'",
        user=session["username"],
    )
    if what in _LOOKS:
        return text
    found = re.search(r"dimensions: *(\d+x\d+)" if what == "dimensions" else f"({what})", text)
    return found[1] if found else text


def below_script(node: Node, session: dict[str, Any]) -> set[int]:
    """The processes of a session: its batch script and what is below it."""
    script = f"job{session['job_id']:05d}/slurm_script"
    below = {pid for pid, args in node.processes(session["username"]).items() if script in args}
    assert below, "the session has no batch script"
    for _ in range(6):
        found = node.run("pgrep", "-P", ",".join(map(str, below)), check=False)
        below |= {int(pid) for pid in found.split()}
    return below


def of_session(node: Node, session: dict[str, Any], program: str) -> int:
    """The process of a session's program: below its batch script, whatever else its user runs."""
    below = below_script(node, session)
    names = node.run("ps", "-o", "pid=,args=", "-p", ",".join(map(str, below))).splitlines()
    return next(int(line.split()[0]) for line in names if re.match(rf"\s*\d+ {program}", line))
