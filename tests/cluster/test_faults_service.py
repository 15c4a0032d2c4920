"""Faults of the service: killed at every step, restarted, doubled; desktops do not notice."""

from __future__ import annotations

import concurrent.futures
import contextlib
import http.client
import itertools
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cluster_view import raw_redis
from faults import killed, note, pid_of, stopped
from invariants import clashes, desktops, whole_within
from on_cluster import LIVE, SESSIONS, Api, everything, run, wait_for

from moonlight_core import SessionManager

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.usefixtures("mended")

CHILD = Path(__file__).with_name("crash_child.py")
USERS = ("alice", "bob", "carol")
REPAIR_STEPS = 8
# Steps are many, users may have four sessions.
MANY = {"MOONLIGHT_SESSIONS_PER_USER": "20"}


def dies(call: int, operation: str, argument: str = "-") -> bool:
    """Carry out an operation that is killed before its n-th call; False if it ended before that."""
    done = subprocess.run(
        [sys.executable, str(CHILD), str(call), operation, argument],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | MANY,
        timeout=60,
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode != 0


def test_a_restart_of_the_service(api: Callable[[str], Api]) -> None:
    """SIGTERM and SIGKILL; the desktops go on, and all are listed when the service answers."""
    made = [(api(user), api(user).create()) for user in ("alice", "bob")]
    for user, session in made:
        user.wait(session["session_id"], "running")
    before = desktops()
    assert {session["session_id"] for _, session in made} <= before.keys()
    for name, way in {"restarted": stopped, "killed": killed}.items():
        with way("moonlight"):
            time.sleep(1)
        note(f"service {name}, two desktops", whole_s=whole_within(20, survivors=before))


def test_requests_right_after_its_start_are_answered(tmp_path: Path) -> None:
    """Behind a proxy nobody is told to come again because Slurm's library is still being loaded."""
    # A machine on which that takes a while.
    (tmp_path / "sitecustomize.py").write_text(
        "import sys, time\n'moonlight_core.slurm_worker' in sys.orig_argv and time.sleep(4)\n"
    )

    def create(user: str) -> int:
        """As a proxy that tries again until somebody listens."""
        while True:
            try:
                return Api(user, port=8005)("POST", SESSIONS, {"image_id": "bare"})[0]
            except ConnectionRefusedError:
                time.sleep(0.02)

    run("scontrol", "update", "PartitionName=viz", "State=DOWN")
    service = subprocess.Popen(
        [sys.executable, "-m", "moonlight_http"],
        env=os.environ
        | {
            "MOONLIGHT_SERVICE_PORT": "8005",
            "MOONLIGHT_SERVICE_USERS_SOCKET": "",
            "PYTHONPATH": str(tmp_path),
        },
        stderr=subprocess.DEVNULL,
    )
    try:
        with concurrent.futures.ThreadPoolExecutor(9) as pool:
            assert set(pool.map(create, USERS * 3)) == {201}
        for session in everything():
            if session["status"] in LIVE:
                Api("carol").delete(session["session_id"])
        note("service started under requests", whole_s=whole_within(30))
    finally:
        service.terminate()
        service.wait(timeout=20)
        run("scontrol", "update", "PartitionName=viz", "State=UP")


@pytest.mark.slow  # waits for submit_grace_s
def test_killed_at_every_step_of_create(api: Callable[[str], Api]) -> None:
    """What was begun is finished or undone, and nobody's session is lost or doubled."""
    crashes = 0
    for call, user in zip(itertools.count(1), itertools.cycle(USERS)):
        if not dies(call, "create", user):
            break
        crashes += 1
    assert crashes >= 3
    note("killed at every step of create", crashes=crashes, whole_s=whole_within(90))


@pytest.mark.timeout(420)
def test_killed_at_every_step_of_start_repair_and_end(
    api: Callable[[str], Api], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Jobs that wait for their slot, a lost Redis, the wish to end: each step of each."""
    for name, value in MANY.items():
        monkeypatch.setenv(name, value)
    manager = SessionManager.from_config()
    with stopped("moonlight"):
        made = [manager.create(user, "bare").session_id for user in USERS * 3]
        wait_for(lambda: run("squeue", "-ho", "%T", "-t", "R").count("RUNNING"), lambda n: n >= 9)
        steps = 0
        for session_id in made:
            steps += dies(steps + 1, "advance", session_id)
            # Others go on: a slot must not be given twice.
            manager._reconciler.advance(manager.get(made[-1]))
        assert steps >= 4
    begin = time.monotonic()
    assert clashes() == []
    for session_id in made:
        api("carol").wait(session_id, "running", timeout_s=120)
    note("killed at every step of start", crashes=steps, whole_s=whole_within(60))
    assert time.monotonic() - begin < 180
    before = desktops()
    assert set(made) <= before.keys()
    crashes = killed_in_repair()
    note(
        "killed at every step of reconcile",
        crashes=crashes,
        whole_s=whole_within(60, survivors=before),
    )
    with stopped("moonlight"):
        steps = 0
        for session_id in made:
            if not dies(steps + 1, "delete", session_id):
                break
            steps += 1
        assert steps >= 3
    note("killed at every step of delete", crashes=steps, whole_s=whole_within(60))


def killed_in_repair() -> int:
    """Rounds that rebuild an empty Redis, each killed one call later; returns how many."""
    store = raw_redis()
    with stopped("moonlight"):
        for call in itertools.count(1):
            # Later gaps are like those of the first sessions.
            if call > REPAIR_STEPS:
                return call - 1
            for key in store.scan_iter("moonlight:*"):
                store.delete(key)
            if not dies(call, "reconcile"):
                return call - 1
            assert clashes() == []
    raise AssertionError


@contextlib.contextmanager
def load() -> Iterator[list[str]]:
    """Three users who make and end sessions all the time, and see 5xx only of a service away."""
    over = threading.Event()
    wrong: list[str] = []

    def use(name: str) -> None:
        user, dice = Api(name), random.Random(name)  # noqa: S311 - chance, not secrecy
        while not over.wait(dice.uniform(0.05, 0.4)):
            with contextlib.suppress(OSError, http.client.HTTPException):
                status, answer = user("POST", SESSIONS, {"image_id": "bare"})
                if status >= 500 and status != 503:
                    wrong.append(f"POST: {status} {answer}")
                listed = user("GET", SESSIONS)[1]["sessions"]
                living = [s for s in listed if s["status"] not in ("stopped", "failed", "stopping")]
                if len(living) > 2:
                    user("DELETE", f"{SESSIONS}/{dice.choice(living)['session_id']}")

    users = [threading.Thread(target=use, args=(name,)) for name in USERS]
    for user in users:
        user.start()
    try:
        yield wrong
    finally:
        over.set()
        for user in users:
            user.join()


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kills", [5, pytest.param(100, marks=pytest.mark.slow)])
def test_killed_at_random_moments_under_load(api: Callable[[str], Api], kills: int) -> None:
    """Whatever was under way; at no moment do two sessions clash."""
    dice = random.Random(kills)  # noqa: S311 - chance, not secrecy
    with load() as wrong:
        for _ in range(kills):
            time.sleep(dice.uniform(0.2, 2.5))
            os.kill(pid_of("moonlight"), signal.SIGKILL)
            assert [w for w in clashes() if "both have" in w or "clash" in w] == []
            run("cluster-service", "start", "moonlight")
    assert wrong == []
    note(f"service killed {kills} times under load", whole_s=whole_within(120))


def test_two_services_and_cron_at_once(api: Callable[[str], Api]) -> None:
    """Rounds of two services and of several cron jobs, over sessions that come and go."""
    service = "/opt/moonlight/backend_moonlight_8004/venv/bin/python"
    config = {"MOONLIGHT_CONFIG": "/etc/moonlight/moonlight.toml"}
    environ = {"PATH": os.environ["PATH"], **config}
    second = subprocess.Popen(
        [service, "-m", "moonlight_http"],
        env=environ | {"MOONLIGHT_SERVICE_PORT": "8005", "MOONLIGHT_SERVICE_USERS_SOCKET": ""},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: listens(8005), bool)
        rounds = 0
        with load() as wrong:
            until = time.monotonic() + 6
            while time.monotonic() < until:
                cron = [
                    subprocess.Popen(
                        [service, "-m", "moonlight_core", "reconcile"],
                        env=environ,
                        stdout=subprocess.DEVNULL,
                    )
                    for _ in range(3)
                ]
                assert [job.wait(timeout=60) for job in cron] == [0, 0, 0]
                rounds += len(cron)
                assert [w for w in clashes() if "both have" in w or "clash" in w] == []
            theirs = Api("alice", port=8005)("GET", SESSIONS)[1]["sessions"]
            assert theirs
        assert wrong == []
        note("two services and cron", cron_rounds=rounds, whole_s=whole_within(60))
    finally:
        second.terminate()
        second.wait(timeout=20)


def listens(port: int) -> bool:
    """Whether a service answers there."""
    try:
        return Api("alice", port=port)("GET", "/health")[0] == 200
    except OSError:
        return False
