"""Faults of places: images, directories, displays and ports of a node are not as they should be."""

from __future__ import annotations

import shutil
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cluster_view import raw_redis
from desks import Desk, bound, desk, foreign, knob, tcp, udp, x_server
from faults import drained, note
from invariants import clashes, whole_within

from moonlight_core import keys, ports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from on_cluster import Api, Node

pytestmark = pytest.mark.usefixtures("mended")

PLACES = Path("/scratch/faults")
SIF = Path("/opt/apptainers/sunshine_xfce4.sif")
SLOTS = ports.pack(47989, 48010, 6)
# Directories on the nodes, by name: how their file system is mounted.
MOUNTS = {
    "full": "size=24k,nr_inodes=20",
    "readonly": "ro",
    "no_log": "size=4k,nr_inodes=1",
    "small": "size=20m",
}


@pytest.fixture
def places(nodes: Mapping[str, Node]) -> Iterator[Path]:
    """Broken images, and small or read-only file systems on both nodes."""
    _clear_places(nodes)
    PLACES.mkdir(mode=0o755)
    (PLACES / "corrupt.sif").write_bytes(b"\0this is no image\n" * 1000)
    with SIF.open("rb") as whole:
        (PLACES / "truncated.sif").write_bytes(whole.read(3_000_000))
    # There and readable for the service, which looks on the head, and not on the nodes.
    (PLACES / "on_head").mkdir()
    for name in ("missing.sif", "private.sif"):
        (PLACES / "on_head" / name).touch(mode=0o644)
    for name in MOUNTS:
        (PLACES / name).mkdir()
    try:
        for node in nodes.values():
            on_head = str(PLACES / "on_head")
            node.run("mount", "-t", "tmpfs", "-o", "mode=755", "faults", on_head)
            node.run("install", "-m", "600", "/dev/null", f"{on_head}/private.sif")
            for name, options in MOUNTS.items():
                place = str(PLACES / name)
                node.run("mount", "-t", "tmpfs", "-o", f"mode=1777,{options}", "faults", place)
        yield PLACES
    finally:
        _clear_places(nodes)


def _clear_places(nodes: Mapping[str, Node]) -> None:
    if PLACES.exists():
        for node in nodes.values():
            for name in ("on_head", *MOUNTS):
                node.run("umount", "--lazy", str(PLACES / name), check=False)
        shutil.rmtree(PLACES)
    for left in Path("/scratch/sunshine_sandboxes").glob("*_broken_image"):
        shutil.rmtree(left)


def free_slots(node: str) -> tuple[list[int], list[int]]:
    """Displays and base ports that no session has now, in the order in which they are given."""
    leases = [lease.split() for lease in raw_redis().hvals(keys.leases(node))]
    displays = {int(display) for display, _ in leases}
    taken = {int(port) for _, port in leases}
    return (
        [display for display in range(10, 99) if display not in displays],
        [port for port in SLOTS if port not in taken],
    )


def test_what_a_session_needs_is_broken_on_the_node(places: Path) -> None:
    """Each session fails by itself, soon, and says what to do; nothing of it is left."""
    broken: Mapping[str, tuple[Callable[[], Desk], str]] = {
        "image missing on the node": (
            partial(desk, "alice", image={"sif": places / "on_head" / "missing.sif"}),
            "missing.sif is missing on this node. Tell the administrators.",
        ),
        "image unreadable to the user": (
            partial(desk, "alice", image={"sif": places / "on_head" / "private.sif"}),
            "private.sif cannot be read by alice. Tell the administrators.",
        ),
        "image corrupt": (
            partial(desk, "alice", image={"sif": places / "corrupt.sif"}),
            "corrupt.sif could not be started: ",
        ),
        "image truncated": (
            partial(desk, "alice", image={"sif": places / "truncated.sif"}),
            "truncated.sif could not be started: ",
        ),
        "image corrupt, to be unpacked": (
            partial(
                desk, "alice",
                image={"sif": places / "corrupt.sif", "id": "broken_image", "rootfs": "sandbox"},
            ),
            "could not be unpacked into /scratch/sunshine_sandboxes/alice_broken_image",
        ),
        "no space for the session's directory": (
            partial(desk, "bob", paths={"sessions": places / "full"}),
            "cannot be written: No space left on device.",
        ),
        "session directory read-only": (
            partial(desk, "bob", paths={"sessions": places / "readonly"}),
            "cannot be made: Read-only file system.",
        ),
        "no space for the log": (
            partial(desk, "bob", paths={"logs": places / "no_log"}),
            "the directory of the logs is full, read-only or missing there",
        ),
        "no space to unpack the image": (
            partial(
                desk, "carol", image={"rootfs": "sandbox"}, paths={"sandboxes": places / "small"}
            ),
            "is there space and quota left?",
        ),
        "sandboxes read-only": (
            partial(
                desk, "carol", image={"rootfs": "sandbox"}, paths={"sandboxes": places / "readonly"}
            ),
            "carol_bare cannot be made: Read-only file system.",
        ),
    }  # fmt: skip
    made = {}
    for name, (maker, _) in broken.items():
        made[name] = (time.monotonic(), maker())
    for name, (begin, session) in made.items():
        ended = session.ended()
        note(name, failed_s=time.monotonic() - begin)
        assert ended["status"] == "failed", name
        assert broken[name][1] in ended["error"], name
        assert ended["error"] == ended["reason"]
    note("broken images and directories", whole_s=whole_within(20))


def test_an_image_that_is_not_there_is_refused_at_once(api: Callable[[str], Api]) -> None:
    """Nothing is submitted."""
    away = SIF.with_suffix(".away")
    SIF.rename(away)
    try:
        status, answer = api("alice")("POST", "/api/moonlight/sessions", {"image_id": "bare"})
        listed = api("alice")("GET", "/api/moonlight/images")[1]["images"]
    finally:
        away.rename(SIF)
    assert (status, answer["code"]) == (409, "image_unavailable")
    assert not any(image["available"] for image in listed)
    note("image missing on the head", whole_s=whole_within(10))


def test_every_port_and_display_held_by_others_in_turn(
    nodes: Mapping[str, Node], redis_cli: Callable[..., str]
) -> None:
    """Each foreign process costs its slot alone; the session takes the next, and says why."""
    # Of a slot with base port P, all that Sunshine needs.
    parts = [
        ("TCP", -5, tcp), ("TCP", 0, tcp), ("TCP", 1, tcp), ("TCP", 21, tcp),
        ("UDP", 9, udp), ("UDP", 10, udp), ("UDP", 11, udp),
    ]  # fmt: skip
    displays, slots = {}, {}
    held: dict[str, dict[str, str]] = {"viz1": {}, "viz2": {}}
    said: dict[str, list[str]] = {"viz1": [], "viz2": []}
    for name, programs in held.items():
        displays[name], slots[name] = free_slots(name)
        # All but one of a node's free slots; a session may be running already.
        for port in slots[name][:-1][: len(parts)]:
            kind, offset, program = parts.pop(0)
            programs[f"port:{port}"] = program(port + offset)
            said[name].append(f"A foreign process on this node holds {kind} port {port + offset}.")
    assert not parts, "too many slots are taken already"
    for display, abstract in zip(displays["viz2"][:2], (False, True), strict=True):
        held["viz2"][f"display:{display}"] = x_server(display, abstract=abstract)
        said["viz2"].append(f"A foreign X server on this node holds display :{display}.")
    last = slots["viz1"][-1]
    begin = time.monotonic()
    with (
        foreign(nodes["viz1"], *held["viz1"].values()),
        foreign(nodes["viz2"], *held["viz2"].values()),
    ):
        with drained("viz2"):
            one = desk("alice")
            one.until(lambda session: session["slurm_node"] == "viz1")
        with drained("viz1"):
            other = desk("bob")
            other.until(lambda session: session["slurm_node"] == "viz2")
        ready = one.ready(), other.ready()
        note(
            "each port and display of a slot held by others in turn",
            ready_s=time.monotonic() - begin,
        )
        assert ready[0]["sunshine_port"] == last
        assert ready[1]["display_num"] == displays["viz2"][2]
        for name, session in (("viz1", one), ("viz2", other)):
            blocked = set(redis_cli("zrange", keys.blocked(name), "0", "-1").split())
            assert blocked == set(held[name])
            log = Path(f"/scratch/sunshine_logs/{session.session_id}.log").read_text()
            assert all(sentence in log for sentence in said[name])
        assert clashes() == []
        # A session is in the last free slot: the next one waits for it, and says so.
        with drained("viz2"):
            patient = desk("carol", slurm={"slot_gres": ""})
            hasty = desk("carol", slurm={"slot_gres": ""}, slots={"wait_s": 5})
            waits = hasty.until(lambda session: session["phase"] == "waiting_for_slot")
            assert waits["status"] == "starting"
            gone = hasty.ended()
            assert gone["status"] == "failed"
            assert "No display and port of this node became free within 5 s." in gone["error"]
            waits = patient.until(lambda session: session["phase"] == "waiting_for_slot")
            assert "Waiting for a free display and port on viz1" in waits["reason"]
            freed = time.monotonic()
            one.api.delete(one.session_id)
            assert patient.ready()["sunshine_port"] == last
            note("no free slot without GRES, then one", ready_s=time.monotonic() - freed)
        assert clashes() == []
        for session in (other, patient):
            session.end()
    note("ports and displays held by others", whole_s=whole_within(20))


def test_a_port_that_no_list_shows_is_found_by_sunshine(
    nodes: Mapping[str, Node], redis_cli: Callable[..., str]
) -> None:
    """Whether it ends with 0 or hangs half alive: another slot, and the desktop is ready."""
    slots = {name: free_slots(name)[1] for name in nodes}
    begin = time.monotonic()
    with (
        foreign(nodes["viz1"], bound(slots["viz1"][0] + 1)),
        foreign(nodes["viz2"], bound(slots["viz2"][0] - 5)),
    ):
        with drained("viz2"):
            hangs = desk("alice", script=knob("BUSY_PORT", "hang"))
            hangs.until(lambda session: session["slurm_node"] == "viz1")
        with drained("viz1"):
            exits = desk("bob", script=knob("BUSY_PORT", "exit"))
            exits.until(lambda session: session["slurm_node"] == "viz2")
        assert hangs.ready()["sunshine_port"] == slots["viz1"][1]
        assert exits.ready()["sunshine_port"] == slots["viz2"][1]
        note("Sunshine finds a port taken", ready_s=time.monotonic() - begin)
        for name, free in slots.items():
            blocked = redis_cli("zrange", keys.blocked(name), "0", "-1").split()
            assert blocked == [f"port:{free[0]}"]
        assert clashes() == []
        for session in (hangs, exits):
            session.end()
    note("Sunshine finds a port taken: afterwards", whole_s=whole_within(20))
