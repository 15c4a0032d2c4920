"""The place to measure in: a service of its own on the cluster's Slurm and Redis, and its end.

While a run lasts, the cluster's own service is stopped (its rounds would be measured too, and
would adopt what is made here); afterwards it runs again. Records are in databases of Redis of their
own, jobs that shall not run in a partition of their own that is down.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyslurm
import redis

from benchmarks.errors import BenchError
from moonlight_core.redis_client import connect
from moonlight_core.settings import DEFAULT_CONFIG, Settings
from moonlight_core.store import SessionStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from benchmarks.figures import Row

PARKED = "benchmark"
"""The partition whose jobs never start."""
PORT, BASELINE_PORT, EMPTY_PORT = 8014, 8015, 8016
_OURS, _BASELINES = 1, 2  # databases of Redis
_SESSIONS = "/api/moonlight/sessions"
_START_S = 60.0
# Longer than the MinJobAge of the development cluster, in seconds; and how many jobs do not count.
_FORGET_S, _FEW = 420.0, 100
# The kernel ends what we started when we are killed.
_WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")


class Bench:
    """What all measurements share.

    Attributes:
        long: whether this run is for the page.
        rows: what has been measured.
        url: where the service under test lists sessions.
    """

    def __init__(self, *, long: bool) -> None:
        self.long = long
        self.rows: list[Row] = []
        self.url = f"http://127.0.0.1:{PORT}{_SESSIONS}"
        document = tomllib.loads(DEFAULT_CONFIG.read_text())
        base = document["redis"]["url"].rpartition("/")[0]
        self._environment = {
            "MOONLIGHT_REDIS_URL": f"{base}/{_OURS}",
            "MOONLIGHT_SERVICE_PORT": str(PORT),
            "MOONLIGHT_SERVICE_USERS_SOCKET": "",
            "MOONLIGHT_SESSIONS_PER_USER": "100000",
            "MOONLIGHT_SESSIONS_CREATES_PER_MINUTE": "0",
        }
        self.baseline_url = f"{base}/{_BASELINES}"
        self.settings = Settings.load(environ=self._environment)
        # As the site's administrator: the service's own account may do less.
        self.redis = redis.Redis.from_url(
            self.settings.redis.url, password=_administrators_password(), decode_responses=True
        )
        self.store = SessionStore(connect(self.settings.redis))
        self._processes: list[subprocess.Popen[bytes]] = []
        self._was_running = False

    def begin(self) -> None:
        """Make room: our own databases empty, the partition there, the cluster's service stopped.

        What an earlier run that was killed has left is removed as well.
        """
        self._was_running = _run("cluster-service", "status", "moonlight", check=False) == 0
        _run("cluster-service", "stop", "moonlight")
        self._remove()
        self.make_partition()

    def make_partition(self) -> None:
        """Make the partition whose jobs never start; a restarted slurmctld has forgotten it."""
        _run("scontrol", "create", f"PartitionName={PARKED}", "Nodes=ALL", "State=DOWN")

    def end(self) -> None:
        """Leave the cluster as it was found."""
        for process in self._processes:
            process.kill()
            process.wait()
        self._remove()
        if self._was_running:
            _run("cluster-service", "start", "moonlight")

    def _remove(self) -> None:
        self.cancel_jobs()
        _run("scontrol", "delete", f"PartitionName={PARKED}", check=False)
        for url in (self.settings.redis.url, self.baseline_url):
            with redis.Redis.from_url(url, password=_administrators_password()) as client:
                client.flushdb()

    def cancel_jobs(self) -> None:
        """End every job in the partition whose jobs never start, in one request."""
        _run("scancel", "--ctld", f"--partition={PARKED}", check=False)
        deadline = time.monotonic() + 120
        while _output("squeue", "--noheader", f"--partition={PARKED}", "--format=%A"):
            if time.monotonic() > deadline:
                raise BenchError("The jobs of the benchmark do not end.")
            time.sleep(0.2)

    def wait_until_forgotten(self) -> None:
        """Wait until slurmctld has forgotten the jobs of earlier measurements.

        It tells of ended jobs, too, for MinJobAge and up to a minute more (slurm.conf(5)).
        """
        deadline = time.monotonic() + _FORGET_S
        while (left := len(_output("squeue", "--noheader", "--states=all").splitlines())) > _FEW:
            if time.monotonic() > deadline:
                raise BenchError(f"slurmctld still knows {left} jobs of earlier measurements.")
            print(f"    ({left:,} ended jobs to be forgotten by slurmctld)", flush=True)
            time.sleep(20)

    @contextlib.contextmanager
    def service(self, *, parked: bool = True, **settings: object) -> Iterator[int]:
        """Our service; yields its process id.

        Args:
            parked: its sessions' jobs stay in the queue; otherwise they run on the nodes.
            settings: more settings, as ``GROUP_NAME=value``.
        """
        more = {f"MOONLIGHT_{name}".upper(): str(value) for name, value in settings.items()}
        if parked:
            more["MOONLIGHT_SLURM_PARTITION"] = PARKED
        with self._program(
            ["-m", "moonlight_http", "--log-level", "error"], PORT, self._environment | more
        ) as process:
            self._wait_until_healthy()
            yield process.pid

    def _wait_until_healthy(self) -> None:
        """Until the service has heard from slurmctld: before, it cannot create."""
        deadline = time.monotonic() + _START_S
        while True:
            with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/health", timeout=5) as answer:
                checks = json.load(answer)["checks"]
            if checks["slurm"] == "ok":
                return
            if time.monotonic() > deadline:
                raise BenchError(f"The service is not healthy: {checks}")
            time.sleep(0.1)

    @contextlib.contextmanager
    def baseline(self) -> Iterator[str]:
        """The baseline program; yields the address of its sessions."""
        words = ["-m", "benchmarks.baseline", str(BASELINE_PORT), PARKED, self.baseline_url]
        with self._program(words, BASELINE_PORT, {}):
            yield f"http://127.0.0.1:{BASELINE_PORT}/sessions"

    @contextlib.contextmanager
    def empty(self) -> Iterator[str]:
        """The empty handler; yields its address."""
        with self._program(["-m", "benchmarks.empty", str(EMPTY_PORT)], EMPTY_PORT, {}):
            yield f"http://127.0.0.1:{EMPTY_PORT}/"

    @contextlib.contextmanager
    def _program(
        self, words: list[str], port: int, environment: Mapping[str, str]
    ) -> Iterator[subprocess.Popen[bytes]]:
        process = subprocess.Popen(
            [*_WITH_US, sys.executable, *words],
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            # Ctrl-C is for us; what we started is ended by us.
            start_new_session=True,
        )
        self._processes.append(process)
        try:
            _wait_for_port(port, process)
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            self._processes.remove(process)


def _administrators_password() -> str | None:
    return os.environ.get("REDISCLI_AUTH")


def _wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_S
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                return
        except urllib.error.HTTPError:
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise BenchError(
                    f"Nothing answers on port {port}; what it said is above."
                ) from None
            time.sleep(0.05)


def submit_held(number: int, *, user_id: int = 2002, begin: int = 0) -> None:
    """Put so many jobs of somebody else's into the queue, where they stay."""
    for n in range(begin, begin + number):
        pyslurm.JobSubmitDescription(
            name=f"foreign{n}",
            script="#!/bin/bash\nexec sleep 600\n",
            environment={"PATH": "/usr/bin:/bin"},
            user_id=user_id,
            group_id=user_id,
            working_directory="/",
            standard_output="/dev/null",
            partitions=[PARKED],
            account="research",
            time_limit=10,
            priority=0,
        ).submit()


def cpu_s(*pids: int) -> float:
    """CPU seconds that processes have used, the system's part included."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def children(pid: int) -> list[int]:
    """The child processes of a process."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += map(int, (task / "children").read_text().split())
    return found


def requests_to_slurmctld() -> dict[str, tuple[int, int]]:
    """How many requests of each type slurmctld has answered, and the microseconds they took."""
    found = {}
    for line in _output("sdiag").splitlines():
        words = line.replace(":", ": ").split()
        if len(words) > 8 and words[0].startswith(("REQUEST_", "MESSAGE_")):  # noqa: PLR2004
            numbers = dict(itertools.pairwise(words))
            found[words[0]] = (int(numbers["count:"]), int(numbers["total_time:"]))
    return found


def _run(*command: str, check: bool = True) -> int:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if check and done.returncode != 0:
        raise BenchError(f"{' '.join(command)}: {done.stderr or done.stdout}".strip())
    return done.returncode


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    cpu = next(
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    )
    memory_kb = int(Path("/proc/meminfo").read_text().split()[1])
    return {
        "cpus": os.cpu_count(),
        "cpu": cpu,
        "memory_gb": round(memory_kb / 1048576),
        "kernel": os.uname().release,
        "slurm": _output("scontrol", "--version").split()[1],
        "redis": _output("redis-server", "--version").split()[2].removeprefix("v="),
        "python": sys.version.split()[0],
    }
