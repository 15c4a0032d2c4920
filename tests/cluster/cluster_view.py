"""The cluster at one moment, looked at where the truth is.

Slurm (``scontrol``), Redis (its raw keys), the nodes' processes (``ps``) and sockets (``ss``) and
the session directories are asked, not our own API; only what is *listed* is asked of it.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import redis
from on_cluster import RUN, SESSIONS, Api, Node, run

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

SESSION_DIRS = Path("/scratch/sunshine_sessions")
NODES = ("viz1", "viz2")
_FIRST_USER = 2000  # builder, who makes images, is below
_NAME = re.compile(r"ml-[a-z_][a-z0-9_.-]*-[0-9a-z]{18}")
_MARK = re.compile(rf"moonlight:({_NAME.pattern}) .*")
_MARKED_LEASE = re.compile(r".* node=(\S+) display=(\d+) port=(\d+) restart=\d+")


@attrs.frozen(kw_only=True)
class Job:
    """A job as ``scontrol`` shows it; ``states`` are a base state and flags."""

    job_id: int
    name: str
    user: str
    states: frozenset[str]
    node: str | None
    admin_comment: str

    @property
    def ended(self) -> bool:
        """Whether it will never run again and holds no node."""
        return not self.states & {"PENDING", "RUNNING", "SUSPENDED", "COMPLETING"}

    @property
    def holds_node(self) -> bool:
        """Whether processes of it may live."""
        return bool(self.states & {"RUNNING", "SUSPENDED", "COMPLETING"})

    @property
    def session_id(self) -> str | None:
        """The session it is marked as, or is named like."""
        marked = _MARK.fullmatch(self.admin_comment)
        return marked[1] if marked else self.name if _NAME.fullmatch(self.name) else None


@attrs.frozen(kw_only=True)
class OnNode:
    """Processes and sockets of one node.

    ``jobs`` tells the job of each process below a job's slurmstepd, ``strays`` are processes of
    users below no job, ``ports`` and ``displays`` tell the process that holds one.
    """

    jobs: Mapping[int, int]
    steps: Collection[int]
    strays: Mapping[int, str]
    ports: Mapping[int, int]
    displays: Mapping[int, int]


@attrs.frozen(kw_only=True)
class Seen:
    """Everything at about one moment."""

    jobs: Mapping[int, Job]
    records: Mapping[str, Mapping[str, str]]
    leases: Mapping[str, Mapping[str, str]]
    live: Collection[str]
    indexed: Collection[str]
    user_live: Mapping[str, Collection[str]]
    nodes: Mapping[str, OnNode]
    directories: Collection[str]
    listed: Collection[str]


def raw_redis(*, decode_responses: bool = True) -> redis.Redis:
    """The cluster's Redis, without any of our own code."""
    return redis.Redis(
        host="10.213.0.1",
        password=os.environ.get("REDISCLI_AUTH"),
        decode_responses=decode_responses,
        socket_timeout=10,
    )


def jobs_in_slurm() -> dict[int, Job]:
    """All jobs that slurmctld knows."""
    found = {}
    for job in json.loads(run("scontrol", "show", "jobs", "--json"))["jobs"]:
        found[job["job_id"]] = Job(
            job_id=job["job_id"],
            name=job["name"],
            user=job["user_name"],
            states=frozenset(job["job_state"]),
            node=job["nodes"] or None,
            admin_comment=job["admin_comment"],
        )
    return found


def on_node(name: str) -> OnNode | None:
    """What lives on a node; None while the node is off."""
    if not (RUN / "nodes" / f"{name}.pid").exists():
        return None
    node = Node(name)
    parents, owners, shown = {}, {}, {}
    for line in node.run("ps", "-eo", "pid=,ppid=,uid=,args=").splitlines():
        pid, parent, owner, arguments = line.split(maxsplit=3)
        parents[int(pid)], owners[int(pid)] = int(parent), int(owner)
        shown[int(pid)] = arguments
    steps = {
        pid: int(found[1])
        for pid, arguments in shown.items()
        if (found := re.match(r"slurmstepd: \[(\d+)\.", arguments))
    }
    jobs, strays = {}, {}
    for pid, arguments in shown.items():
        above = pid
        while above not in steps and above > 1:
            above = parents.get(above, 1)
        if above in steps:
            jobs[pid] = steps[above]
        # Whoever enters a node from outside has no parent there: that is a test at work.
        elif above == 1 and owners[pid] >= _FIRST_USER:
            strays[pid] = arguments
    return OnNode(
        jobs=jobs,
        steps=set(steps.values()),
        strays=strays,
        ports=_holders(node, "-Hlntp", r"\S+ +\d+ +\d+ +\S+:(\d+) .*pid=(\d+)"),
        displays=_holders(node, "-Hlxp", r".*@/tmp/\.X11-unix/X(\d+) .*pid=(\d+)"),
    )


def _holders(node: Node, options: str, line: str) -> dict[int, int]:
    found = (re.match(line, shown) for shown in node.run("ss", options).splitlines())
    return {int(match[1]): int(match[2]) for match in found if match}


def look() -> Seen:
    """Look everywhere."""
    store = raw_redis()
    records, leases, user_live = {}, {}, {}
    for key in store.scan_iter("moonlight:*", count=1000):
        words = key.split(":")
        if words[1] == "session" and len(words) == 3:
            records[words[2]] = store.hgetall(key)
        elif words[1] == "node" and words[3] == "leases":
            leases[words[2]] = store.hgetall(key)
        elif words[1] == "user" and words[3] == "live":
            user_live[words[2]] = set(store.zrange(key, 0, -1))
    nodes = {name: seen for name in NODES if (seen := on_node(name)) is not None}
    listed: set[str] = set()
    # While the service is away nothing is listed, which is for the rules to say.
    with contextlib.suppress(OSError, http.client.HTTPException):
        status, answer = Api("carol")("GET", f"{SESSIONS}?all=true")
        if status == HTTPStatus.OK:
            listed = {session["session_id"] for session in answer["sessions"]}
    return Seen(
        records=records,
        leases=leases,
        live=set(store.zrange("moonlight:sessions:live", 0, -1)),
        indexed=set(store.zrange("moonlight:sessions", 0, -1)),
        user_live=user_live,
        nodes=nodes,
        directories={path.name for path in SESSION_DIRS.iterdir()},
        listed=listed,
        jobs=jobs_in_slurm(),
    )
