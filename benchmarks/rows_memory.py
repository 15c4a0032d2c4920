"""Memory: of the service with many records, and of a session beside its desktop."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import load
from benchmarks.bench import PORT, children
from benchmarks.errors import BenchError
from benchmarks.figures import Figure, Row
from benchmarks.sessions import NO_LIMITS, running_session
from moonlight_core.models import Status

if TYPE_CHECKING:
    from benchmarks.bench import Bench

TOPIC = "Memory"
_RECORDS = 10_000
# Whatever is not the desktop itself: the batch script's shells, what they call, and Apptainer.
_DESKTOP = ("Xvfb", "Xorg", "xf", "Thunar", "sunshine", "python", "pulseaudio", "dbus", "gvfs",
            "at-spi", "tumbler", "polkit", "agent", "gpg-agent", "ssh-agent", "dconf", "panel",
            "wrapper", "notify")  # fmt: skip


def service(bench: Bench) -> None:
    """The service after it has listed ten thousand records."""
    for n in range(_RECORDS):
        made = bench.store.create(running_session("alice", n), NO_LIMITS)
        if made is not None and n % 10:
            bench.store.finish(made, keep_s=86400, status=Status.STOPPED)
    # Those that live have no job: rounds would ask slurmdbd for each of a thousand.
    bench.redis.delete("moonlight:sessions:live")
    with bench.service() as pid:
        before = _pss_mb(pid)
        client = load.Client(PORT)
        for _ in range(10):
            client("GET", "/api/moonlight/sessions")
        after = _pss_mb(pid)
        workers = sum(_pss_mb(worker) for worker in children(pid))
    bench.redis.flushdb()
    bench.rows.append(
        Row(
            TOPIC,
            f"the service after listing {_RECORDS:,} records",
            Figure(after, after, after, "MB"),
            {
                "just started": Figure(before, before, before, "MB"),
                "its Slurm workers together": Figure(workers, workers, workers, "MB"),
            },
            "≤ 120 MB",
            after <= 120,  # noqa: PLR2004 - the goal
            note="Proportional set size.",
        )
    )


def session(bench: Bench) -> None:
    """What a session has on its node besides X server, desktop and Sunshine."""
    with bench.service(parked=False):
        client = load.Client(PORT)
        _, made = client("POST", "/api/moonlight/sessions", {"image_id": "xfce4"})
        path = f"/api/moonlight/sessions/{made['session_id']}"
        try:
            deadline = time.monotonic() + 120
            while made["status"] != "running":
                _, made = client("GET", path)
                if time.monotonic() > deadline or made["status"] == "failed":
                    raise BenchError(f"No session to look at: {made}")
                time.sleep(0.2)
            time.sleep(3)
            ours, desktop, names = 0.0, 0.0, []
            for pid in _processes_of(made["session_id"]):
                name = (Path("/proc") / str(pid) / "comm").read_text().strip()
                size = _pss_mb(pid)
                if name.startswith(_DESKTOP):
                    desktop += size
                else:
                    ours += size
                    names.append(f"{name} {size:.1f}")
        finally:
            client("DELETE", path)
    bench.rows.append(
        Row(
            TOPIC,
            "a session's own overhead on its node",
            Figure(ours, ours, ours, "MB"),
            {
                "X server, desktop, sound, Sunshine (stand-in)": Figure(
                    desktop, desktop, desktop, "MB"
                )
            },
            "≤ 30 MB",
            ours <= 30,  # noqa: PLR2004 - the goal
            note=f"Proportional set size of {', '.join(sorted(names))}.",
        )
    )


def _processes_of(session_id: str) -> list[int]:
    """The processes below the batch script of a session."""
    parents: dict[int, list[int]] = {}
    roots = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text().rpartition(")")[2].split()
            environ = (entry / "environ").read_bytes()
        except OSError:
            continue
        parents.setdefault(int(stat[1]), []).append(int(entry.name))
        if f"MOONLIGHT_SESSION_ID={session_id}".encode() in environ:
            roots.append(int(entry.name))
    found, todo = set(), roots
    while todo:
        pid = todo.pop()
        if pid not in found:
            found.add(pid)
            todo += parents.get(pid, [])
    return sorted(found)


def _pss_mb(pid: int) -> float:
    """Proportional set size of a process in MB: what is shared counts by its sharers."""
    try:
        lines = (Path("/proc") / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
