"""Options of a desktop, from a request to what runs on the node."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from on_cluster import SESSIONS, Api, Node, run, wait_for
from streaming import Viewer, of_session, shown_in

if TYPE_CHECKING:
    from collections.abc import Callable

SESSION_DIRS = Path("/scratch/sunshine_sessions")
WANTED: dict[str, Any] = {
    "width": 1000,
    "height": 700,
    "encoder": "software",
    "hevc": "off",
    "av1": "on",
    "max_bitrate_kbps": 9000,
    "x_server": "xorg",
    "keyboard": "us(intl)",
    "locale": "ko_KR.UTF-8",
    "time_zone": "Asia/Seoul",
    "audio": False,
    "binds": ["/usr/share/zoneinfo:/data:ro"],
    "applications": ["Wait"],
}


def test_what_is_asked_for_is_what_runs(api: Callable[[str], Api], nodes: dict[str, Node]) -> None:
    """In the answer, in Sunshine's files, in the desktop's environment and on its display."""
    bob = api("bob")
    made = bob.create("bare", **WANTED)
    session = bob.wait(made["session_id"], "running")
    assert {name: session[name] for name in WANTED} == WANTED
    node = nodes[session["slurm_node"]]

    config = SESSION_DIRS / session["session_id"] / "config"
    conf = (config / "sunshine.conf").read_text()
    for line in (
        "encoder = software", "hevc_mode = 1", "av1_mode = 2", "max_bitrate = 9000",
        "stream_audio = disabled", "system_tray = disabled",
    ):  # fmt: skip
        assert f"\n{line}\n" in f"\n{conf}", line
    # A key that this Sunshine does not know would be named here.
    assert (
        "Unrecognized"
        not in (SESSION_DIRS / session["session_id"] / "log/sunshine.log").read_text()
    )
    apps = json.loads((config / "apps.json").read_text())["apps"]
    assert [app["name"] for app in apps] == ["Desktop", "Wait"]

    desktop = of_session(node, session, "bash -c")
    environment = node.run("cat", f"/proc/{desktop}/environ", user="bob").split("\0")
    assert {"LANG=ko_KR.UTF-8", "TZ=Asia/Seoul"} <= set(environment)
    inside = ("nsenter", "--preserve-credentials", "-U", "-m", "-t", str(desktop))
    assert "Asia" in node.run(*inside, "ls", "/data", user="bob")
    viewer = Viewer(bob, session, None, node)  # type: ignore[arg-type]
    assert shown_in(viewer, "dimensions") == "1000x700"
    assert re.search(r"layout: +us\n.*variant: +intl", shown_in(viewer, "keyboard"), re.DOTALL)
    assert of_session(node, session, r".*Xorg")
    assert not [args for args in node.processes("bob").values() if "pulseaudio" in args]


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("encoder", "vaapi", ["auto", "software", "nvenc"]),
        ("x_server", "wayland", ["xvfb", "xorg"]),
        ("keyboard", "klingon", None),
        ("locale", "tlh_KX.UTF-8", None),
        ("time_zone", "Mars/Olympus", None),
        ("binds", ["/etc:/etc"], ["/usr/share/zoneinfo:/data:ro"]),
        ("applications", ["Steam"], ["Terminal", "Wait"]),
        ("audio", "yes", None),
        ("width", 10_000, None),
    ],
)
def test_a_value_that_cannot_be_had_is_refused_before_there_is_a_job(
    api: Callable[[str], Api], field: str, value: object, allowed: list[str] | None
) -> None:
    """422 with the field and, where these are few, what may be said."""
    before = run("squeue", "--noheader", "--all")
    status, answer = api("bob")("POST", SESSIONS, {"image_id": "bare", field: value})
    assert (status, answer["code"], answer["field"]) == (422, "invalid_value", field), answer
    if allowed:
        assert answer["allowed"] == allowed
    assert run("squeue", "--noheader", "--all", "--user=bob").count("\n") <= before.count("\n")


def test_an_encoder_that_is_not_there_is_said_to_be_missing(api: Callable[[str], Api]) -> None:
    """Who names an encoder gets that one or none; auto takes what there is."""
    bob = api("bob")
    made = [bob.create("bare", encoder="nvenc", gpus=1), bob.create("bare", encoder="auto")]
    failed = wait_for(
        lambda: bob.get(made[0]["session_id"]), lambda s: s["status"] == "failed", timeout_s=60
    )
    assert failed["error_code"] == "encoder_missing"
    assert failed["error"].startswith("The encoder nvenc does not work on viz")
    bob.wait(made[1]["session_id"], "running")
