"""The five rules of docs/reliability.md, as checks of what ``cluster_view`` has seen.

``violations`` says what is wrong now, ``whole_within`` waits until nothing is and tells how long it
took, ``clashes`` alone must hold at every moment, whatever else is under way.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
import redis
from cluster_view import Seen, look
from on_cluster import LIVE

from moonlight_core import ports

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from cluster_view import Job

# What a record may say while its job is in a state, in Slurm's words.
_MAY_SAY = {
    "PENDING": {"pending", "stopping"},
    "COMPLETING": {"stopping"},
    "RUNNING": {"starting", "running", "stopping"},
    "SUSPENDED": {"starting", "running", "stopping"},
}


def violations(
    *,
    foreign_jobs: Collection[int] = (),
    survivors: Mapping[str, Any] | None = None,
) -> list[str]:
    """What breaks a rule now, as sentences; nothing when all is whole.

    Args:
        foreign_jobs: jobs that only claim to be sessions (forged by a test).
        survivors: what ``desktops`` returned before; all must be alive, the same, and listed.
    """
    seen = look()
    ours = {
        job.session_id: job
        for job in seen.jobs.values()
        if job.session_id and job.job_id not in foreign_jobs and not job.ended
    }
    return [
        *_unmatched(seen, ours),
        *_left_behind(seen, ours),
        *_index_faults(seen),
        *_clashes(seen),
        *_lies(seen, ours),
        *_lost(seen, ours, survivors or {}),
    ]


def clashes() -> list[str]:
    """What breaks rule 2, which has to hold at every moment."""
    return _clashes(look())


def whole_within(timeout_s: float, **options: Any) -> float:
    """Wait until no rule is broken; returns how many seconds that took.

    Args:
        timeout_s: after so many seconds the test fails, with what was still wrong.
        options: as for ``violations``.
    """
    begin = time.monotonic()
    while True:
        try:
            wrong = violations(**options)
        except (redis.RedisError, OSError, pytest.fail.Exception) as exc:
            wrong = [f"not everything can be looked at: {exc}"]
        seconds = time.monotonic() - begin
        if not wrong:
            return seconds
        if seconds > timeout_s:
            pytest.fail(f"not whole after {timeout_s:g} s:\n  " + "\n  ".join(wrong))
        time.sleep(0.2)


def desktops() -> dict[str, Any]:
    """The running desktops by session: slot, job and processes, to be compared later."""
    seen = look()
    found = {}
    for session_id, record in seen.records.items():
        if record.get("status") == "running":
            node = seen.nodes[record["slurm_node"]]
            job_id = int(record["job_id"])
            slot = {name: record[name] for name in ("slurm_node", "display_num", "sunshine_port")}
            found[session_id] = {
                **slot,
                "job_id": job_id,
                "processes": {
                    node.ports.get(int(record["sunshine_port"])),
                    node.displays.get(int(record["display_num"])),
                },
            }
    return found


def _unmatched(seen: Seen, ours: Mapping[str, Job]) -> list[str]:
    wrong = []
    for session_id, job in ours.items():
        record = seen.records.get(session_id)
        if record is None:
            wrong.append(f"job {job.job_id} ({session_id}) has no record")
        elif record["status"] not in LIVE:
            wrong.append(f"job {job.job_id} lives, its record {session_id} is {record['status']}")
        elif record.get("job_id") != str(job.job_id):
            wrong.append(f"the record of {session_id} does not know its job {job.job_id}")
    wrong += [
        f"the record of {session_id} is {record['status']} and has no living job"
        for session_id, record in seen.records.items()
        if record["status"] in LIVE and session_id not in ours
    ]
    for node, leases in seen.leases.items():
        for session_id, lease in leases.items():
            job, record = ours.get(session_id), seen.records.get(session_id, {})
            if job is None or not job.holds_node or job.node != node:
                wrong.append(f"the lease {lease} on {node} has no living job ({session_id})")
            slot = f"{record.get('display_num')} {record.get('sunshine_port')}"
            if (record.get("slurm_node"), slot) != (node, lease):
                wrong.append(f"the lease {lease} on {node} is not what {session_id} says")
    return wrong


def _left_behind(seen: Seen, ours: Mapping[str, Job]) -> list[str]:
    wrong = []
    for name, node in seen.nodes.items():
        wrong += [f"process {pid} on {name} has no job: {a}" for pid, a in node.strays.items()]
        wrong += [
            f"slurmstepd of job {job_id} on {name} outlives it"
            for job_id in node.steps
            if job_id not in seen.jobs or seen.jobs[job_id].ended
        ]
    return wrong + [
        f"the directory {name} outlives its session"
        for name in seen.directories
        if name not in ours
    ]


def _index_faults(seen: Seen) -> list[str]:
    living = {name for name, record in seen.records.items() if record["status"] in LIVE}
    of_users = {name for ids in seen.user_live.values() for name in ids}
    wrong = [f"{name} is not among the live sessions" for name in living - set(seen.live)]
    wrong += [f"{name} is wrongly among the live sessions" for name in set(seen.live) - living]
    wrong += [f"{name} is not among its user's live ones" for name in living - of_users]
    wrong += [f"{name} is wrongly among its user's live ones" for name in of_users - living]
    wrong += [f"{name} is in no index" for name in set(seen.records) - set(seen.indexed)]
    return wrong


def _clashes(seen: Seen) -> list[str]:
    wrong = []
    for name, leases in seen.leases.items():
        slots = [(key, *map(int, lease.split())) for key, lease in leases.items()]
        for i, (one, display, port) in enumerate(slots):
            for other, other_display, other_port in slots[:i]:
                if display == other_display:
                    wrong.append(f"{one} and {other} both have display :{display} on {name}")
                if port == other_port or ports.clash(port, other_port):
                    wrong.append(f"{one} ({port}) and {other} ({other_port}) clash on {name}")
    for session_id, record in seen.records.items():
        node = seen.nodes.get(record.get("slurm_node", ""))
        job = seen.jobs.get(int(record.get("job_id", 0)))
        if record["status"] != "running" or node is None or job is None or not job.holds_node:
            continue
        display = int(record["display_num"])
        held = {
            f"port {p}": node.ports.get(p) for p in ports.tcp_ports(int(record["sunshine_port"]))
        }
        held[f"display :{display}"] = node.displays.get(display)
        wrong += [
            f"{what} of {session_id} is held by process {pid} of job {node.jobs[pid]}"
            for what, pid in held.items()
            if pid is not None and pid in node.jobs and node.jobs[pid] != job.job_id
        ]
        if job.states == {"RUNNING"}:
            wrong += [
                f"{what} of {session_id}, which is running, is held by none of its processes"
                for what, pid in held.items()
                if pid not in node.jobs
            ]
    return wrong


def _lies(seen: Seen, ours: Mapping[str, Job]) -> list[str]:
    wrong = []
    for session_id, record in seen.records.items():
        status, told = record["status"], record.get("slurm_state")
        if not record.get("reason"):
            wrong.append(f"{session_id} is {status} and gives no reason")
        if status == "failed" and not record.get("error"):
            wrong.append(f"{session_id} failed and tells no error")
        job = ours.get(session_id)
        if job is not None:
            state = next((s for s in ("COMPLETING", "SUSPENDED") if s in job.states), None)
            state = state or next(s for s in ("PENDING", "RUNNING") if s in job.states)
            if status not in _MAY_SAY[state]:
                wrong.append(f"{session_id} is {status}, its job {job.job_id} is {state}")
            if told is not None and told not in job.states:
                wrong.append(f"{session_id} says {told}, Slurm says {'+'.join(job.states)}")
        elif status not in LIVE and (ended := seen.jobs.get(int(record.get("job_id", 0)))):
            if told is not None and told not in ended.states:
                wrong.append(f"{session_id} ended as {told}, Slurm says {'+'.join(ended.states)}")
            if not record.get("stopped_at"):
                wrong.append(f"{session_id} ended and does not tell when")
    return wrong


def _lost(seen: Seen, ours: Mapping[str, Job], survivors: Mapping[str, Any]) -> list[str]:
    wrong = [f"{name} is not listed" for name in {*ours, *seen.records} - set(seen.listed)]
    for session_id, before in survivors.items():
        record, node = seen.records.get(session_id, {}), seen.nodes.get(before["slurm_node"])
        if record.get("status") != "running":
            wrong.append(f"{session_id} ran before and is {record.get('status')} now")
        wrong += [
            f"{session_id} had {name} {before[name]} and has {record.get(name)} now"
            for name in ("slurm_node", "display_num", "sunshine_port")
            if record.get(name) != before[name]
        ]
        if seen.leases.get(before["slurm_node"], {}).get(session_id) != (
            f"{before['display_num']} {before['sunshine_port']}"
        ):
            wrong.append(f"{session_id} has lost its lease")
        alive = (
            {pid for pid, job_id in node.jobs.items() if job_id == before["job_id"]} if node else ()
        )
        if not before["processes"] <= set(alive):
            wrong.append(f"X server or Sunshine of {session_id} died")
    return wrong
