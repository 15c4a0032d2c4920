"""Leases: how fast a slot is taken and given back, and that it is never given twice."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.errors import BenchError
from benchmarks.figures import Figure, Row
from benchmarks.sessions import NO_LIMITS, running_session
from moonlight_core import ports
from moonlight_core.models import Status
from moonlight_core.redis_client import connect
from moonlight_core.store import SessionStore

if TYPE_CHECKING:
    from multiprocessing.queues import SimpleQueue

    from benchmarks.bench import Bench
    from moonlight_core.settings import RedisSettings

TOPIC = "Leases"
_GOAL_PER_S = 5000
_PROCESSES = 64
# Six slots each: fewer than there are processes, so that some find none.
_NODES = [f"viz{n}" for n in range(1, 9)]
_DISPLAYS = range(10, 100)
_PORTS = ports.pack(47989, 48010, len(_DISPLAYS))


def leases(bench: Bench) -> None:
    """Take and give back, with one process and with many, each lease checked to be exclusive."""
    single = _run(bench, processes=1, total=20_000 if bench.long else 4_000, rounds=3)
    many = _run(bench, processes=_PROCESSES, total=1_000_000 if bench.long else 20_000, rounds=1)
    scan = _scan_of_keys(bench)
    for processes, (figure, taken, refused, doubles) in ((1, single), (_PROCESSES, many)):
        bench.rows.append(
            Row(
                TOPIC,
                f"take or give back a slot, {processes} process{'es' if processes > 1 else ''}",
                figure,
                {"baseline: a scan of the keys of 50 sessions": scan},
                f"one round trip each, ≥ {_GOAL_PER_S:,}/s, no slot taken twice",
                figure.median >= _GOAL_PER_S and not doubles,
                note=f"{taken:,} leases, {refused:,} times none was free, {doubles} taken twice "
                "(each checked by a file that must not exist yet).",
            )
        )
    bench.redis.flushdb()


def _run(bench: Bench, *, processes: int, total: int, rounds: int) -> tuple[Figure, int, int, int]:
    """Operations a second; leases, refusals and double leases of all rounds."""
    rates: list[float] = []
    told: list[_Told] = []
    context = multiprocessing.get_context("forkserver")
    # Imported once: each process would spend a second of both processors on it.
    context.set_forkserver_preload([__name__])
    for _ in range(rounds):
        bench.redis.flushdb()
        with tempfile.TemporaryDirectory(dir="/dev/shm") as held:
            answers: SimpleQueue[_Told] = context.SimpleQueue()
            gate = context.Barrier(processes)
            workers = [
                context.Process(
                    target=_worker,
                    args=(bench.settings.redis, n, total // processes, held, gate, answers),
                    daemon=True,
                )
                for n in range(processes)
            ]
            for worker in workers:
                worker.start()
            these = [answers.get() for _ in workers]
            for worker in workers:
                worker.join()
        took = max(one.ended for one in these) - min(one.begun for one in these)
        # Each lease was given back: two operations.
        rates.append(sum(2 * one.taken + one.refused for one in these) / took)
        told += these
    return (
        Figure.of(rates, "/s"),
        sum(one.taken for one in told),
        sum(one.refused for one in told),
        sum(one.doubles for one in told),
    )


@dataclasses.dataclass(frozen=True)
class _Told:
    """What one process did."""

    taken: int
    refused: int
    doubles: int
    begun: float
    ended: float


def _worker(  # noqa: PLR0917 - a process is given its arguments in order
    settings: RedisSettings,
    number: int,
    times: int,
    held: str,
    gate: object,
    answers: SimpleQueue[_Told],
) -> None:
    store = SessionStore(connect(settings))
    session = store.create(
        running_session(
            "alice",
            number,
            status=Status.STARTING,
            slurm_node=None,
            display_num=None,
            sunshine_port=None,
        ),
        NO_LIMITS,
    )
    taken = refused = doubles = 0
    gate.wait()  # type: ignore[attr-defined]
    begun = time.monotonic()
    while taken < times and session is not None:
        node = _NODES[(number + taken + refused) % len(_NODES)]
        leased = store.leased(session, node, _DISPLAYS, _PORTS)
        if leased is None:
            refused += 1
            continue
        taken += 1
        marks = [
            Path(held, f"{node}-display-{leased.display_num}"),
            Path(held, f"{node}-port-{leased.sunshine_port}"),
        ]
        for mark in marks:
            try:
                os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                doubles += 1
        for mark in marks:
            mark.unlink(missing_ok=True)
        session = store.unleased(leased)
    if session is None:
        raise BenchError("A session was changed by somebody else.")
    answers.put(_Told(taken, refused, doubles, begun, time.monotonic()))


def _scan_of_keys(bench: Bench) -> Figure:
    """What finding a free display costs when it is done by looking at all sessions."""
    for n in range(50):
        bench.redis.hset(f"baseline:session:{n}", "display", str(n))
    rates = []
    for _ in range(5):
        begun = time.perf_counter()
        for _ in range(20):
            for key in bench.redis.scan_iter("baseline:session:*"):
                bench.redis.hget(key, "display")
        rates.append(20 / (time.perf_counter() - begun))
    return Figure.of(rates, "/s")
