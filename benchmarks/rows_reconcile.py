"""What a round of reconcile costs, as sessions, jobs and nodes become many."""

from __future__ import annotations

import math
import os
import resource
import subprocess
import time
from functools import partial
from typing import TYPE_CHECKING

from benchmarks import load
from benchmarks.bench import PARKED, PORT, children, cpu_s, requests_to_slurmctld, submit_held
from benchmarks.figures import Figure, Row
from benchmarks.sessions import NO_LIMITS, running_session
from moonlight_core import SessionManager, bus
from moonlight_core.errors import SlurmUnavailable
from moonlight_core.gateway import SlurmJob
from moonlight_core.slurm_worker import WorkerGateway
from moonlight_core.testing import MemoryGateway

if TYPE_CHECKING:
    from benchmarks.bench import Bench

TOPIC = "Reconcile"
_GOAL_MS = 100
_SLOTS = 6


def rounds_on_slurm(bench: Bench) -> None:
    """Rounds over live sessions and foreign jobs in a real slurmctld."""
    live, foreign = (1000, 10_000) if bench.long else (200, 1_000)
    bench.wait_until_forgotten()
    submit_held(foreign)
    with bench.service() as pid:
        client = load.Client(PORT)
        for _ in range(live):
            client("POST", "/api/moonlight/sessions", {"image_id": "bare"})
        # What starts at any moment is asked for more often: that is over after half a minute.
        time.sleep(35)
        usual = _usual(pid, 20 if bench.long else 5)
    cpu, wall, asked, controller = _measure(bench, 20 if bench.long else 8)
    baseline = _squeue_each(bench, 50) * live
    bench.rows.append(
        Row(
            TOPIC,
            f"CPU of a round that asks for all: {live:,} live sessions, {foreign:,} foreign jobs",
            cpu,
            {
                "its duration": wall,
                "slurmctld's part": controller,
                "CPU a second of the service, all included, at its own rhythm": usual,
                f"baseline: squeue for each, {live:,} of them": Figure(
                    baseline, baseline, baseline, "ms"
                ),
            },
            f"≤ {_GOAL_MS} ms",
            cpu.median <= _GOAL_MS,
            note=f"Requests to slurmctld a round: {asked}. All jobs wait in the queue. CPU is the "
            "service's and its workers'.",
        )
    )
    bench.cancel_jobs()
    bench.redis.flushdb()


def _usual(pid: int, seconds: int) -> Figure:
    """CPU milliseconds a second of a service and its workers that nobody asks anything."""
    seen = []
    for _ in range(seconds):
        family = (pid, *children(pid))
        before = cpu_s(*family)
        time.sleep(1)
        seen.append((cpu_s(*family) - before) * 1000)
    return Figure.of(seen, "ms")


def _measure(bench: Bench, rounds: int) -> tuple[Figure, Figure, str, Figure]:
    """Rounds that ask for all: CPU, duration, requests and slurmctld's own part of each."""
    gateway = WorkerGateway(bench.settings.slurm.conf, deadline_s=30)
    manager = SessionManager.from_settings(bench.settings, gateway=gateway)
    gateway.start()
    try:
        for _ in range(3):
            _round(manager)
        workers = children(os.getpid())
        before = requests_to_slurmctld()
        cpus, walls = [], []
        for _ in range(rounds):
            begun, cpu = time.perf_counter(), time.process_time()
            theirs = cpu_s(*workers)
            # Ticks of the workers' clock are 10 ms: several rounds for one figure.
            for _ in range(5):
                _round(manager)
            cpus.append((time.process_time() - cpu + cpu_s(*workers) - theirs) * 1000 / 5)
            walls.append((time.perf_counter() - begun) * 1000 / 5)
        after = requests_to_slurmctld()
    finally:
        gateway.close()
    number = rounds * 5
    asked, spent = [], 0.0
    for name, (count, total_us) in after.items():
        more = count - before.get(name, (0, 0))[0]
        if more >= number // 2:
            asked.append(f"{more / number:.3g} {name}")
            spent += (total_us - before.get(name, (0, 0))[1]) / number / 1000
    part = Figure(spent, spent, spent, "ms")
    return Figure.of(cpus, "ms"), Figure.of(walls, "ms"), ", ".join(asked) or "none", part


def _round(manager: SessionManager) -> None:
    """A round that asks for all jobs, however lately another one did."""
    manager._reconciler._attention._all_again_at = -math.inf  # noqa: SLF001 - measured apart
    deadline = time.monotonic() + 30
    while True:
        try:
            manager.reconcile()
        except SlurmUnavailable:
            # The workers are being started.
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def _squeue_each(bench: Bench, number: int) -> float:
    """CPU milliseconds of one squeue for one session."""
    jobs = [session.job_id for session in bench.store.live()][:number]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for job in jobs:
        subprocess.run(
            ["squeue", "--noheader", "--job", str(job), "--format=%T|%N"],
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return spent * 1000 / len(jobs)


def growth_of_nodes(bench: Bench) -> None:
    """Rounds over running sessions on one node and on many, on a Slurm in memory."""
    for nodes in (1, 20, 200):
        number = nodes * _SLOTS - nodes
        manager = _simulated(bench, nodes, number)
        rounds = []
        for _ in range(20 if bench.long else 5):
            begun = time.process_time()
            manager.reconcile()
            rounds.append((time.process_time() - begun) * 1000)
        node = f"viz{nodes}"
        lease = []
        session = bench.store.create(
            running_session("bob", 0, slurm_node=None, display_num=None, sunshine_port=None),
            NO_LIMITS,
        )
        for _ in range(200):
            if session is None:
                break
            begun = time.perf_counter()
            leased = bench.store.leased(session, node, range(20, 100), (48006,))
            lease.append((time.perf_counter() - begun) * 1000)
            session = bench.store.unleased(leased) if leased else None
        bench.rows.append(
            Row(
                "Growth",
                f"CPU of a round: {number:,} running sessions on {nodes:,} nodes (simulated)",
                Figure.of(rounds, "ms"),
                {"a lease on one of the nodes": Figure.of(lease, "ms")},
                "lease flat",
            )
        )
        bench.redis.flushdb()


def _simulated(bench: Bench, nodes: int, number: int) -> SessionManager:
    """A manager whose sessions all run, reported ready, on a Slurm without a Slurm."""
    gateway = MemoryGateway()
    manager = SessionManager.from_settings(bench.settings, gateway=gateway)
    for n in range(number):
        node, slot = n % nodes + 1, n // nodes
        session = running_session(
            "alice", n, slurm_node=f"viz{node}", display_num=10 + slot, sunshine_port=47989 + slot
        )
        # As after a loss of Redis: record and lease at once.
        bench.store.restore(session)
        assert session.job_id is not None  # noqa: S101 - for the type checker
        gateway._jobs[session.job_id] = SlurmJob(  # noqa: SLF001 - a thousand jobs at once
            job_id=session.job_id,
            name=session.session_id,
            user_id=2001,
            state="RUNNING",
            node=session.slurm_node,
            admin_comment=bus.Mark.of_session(session).text(),
            extra='{"phase":"ready","restart":0,"reason":"The desktop is ready.",'
            f'"cert":"{session.cert_sha256}"}}',
            submitted_at=session.submitted_at,
            started_at=session.started_at,
            expires_at=session.expires_at,
        )
    for _ in range(2):
        manager.reconcile()
    return manager


def growth_of_records(bench: Bench) -> None:
    """List, create and lease with few and with many records of others in Redis."""
    for number in (10, 1_000, 10_000):
        for n in range(number):
            user = f"user{n // 4}"
            session = running_session(user, n)
            made = bench.store.create(session, NO_LIMITS)
            if n % 10 and made is not None:
                bench.store.finish(made, keep_s=86400, status=session.status)
        for n in range(25):
            bench.store.create(running_session("alice", n), NO_LIMITS)
        listing = [load.timed_ms(lambda: bench.store.of_user("alice")) for _ in range(200)]
        create = []
        for n in range(200):
            fresh = running_session("bob", n)
            create.append(load.timed_ms(partial(bench.store.create, fresh, NO_LIMITS)))
        bench.rows.append(
            Row(
                "Growth",
                f"the store's part of listing 25 sessions, {number:,} records of others in Redis",
                Figure.of(listing, "ms"),
                {"the store's part of a create": Figure.of(create, "ms")},
                "flat",
            )
        )
        bench.redis.flushdb()


def growth_of_jobs(bench: Bench) -> None:
    """List, create and a round with few and with many jobs of others in the queue."""
    there = 0
    bench.wait_until_forgotten()
    for number in (100, 10_000, 100_000) if bench.long else (100, 2_000):
        submit_held(number - there, begin=there)
        there = number
        with bench.service():
            client = load.Client(PORT)
            create = [
                load.timed_ms(
                    partial(client, "POST", "/api/moonlight/sessions", {"image_id": "bare"})
                )
                for _ in range(25)
            ]
            listing = load.reads(bench.url, seconds=3)
        cpu, wall, _asked, _part = _measure(bench, 3)
        p50 = listing.p50_ms
        bench.rows.append(
            Row(
                "Growth",
                f"list 25 sessions, {number:,} jobs of others in {PARKED}",
                Figure(p50, p50, p50, "ms"),
                {
                    "create": Figure.of(create, "ms"),
                    "CPU of a round of reconcile": cpu,
                    "its duration": wall,
                },
                "list and create flat",
            )
        )
        subprocess.run(["scancel", "--ctld", "--user=alice"], check=False)
        bench.redis.flushdb()
    bench.cancel_jobs()
