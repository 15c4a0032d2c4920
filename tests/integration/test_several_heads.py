"""Two services behind one proxy with one Redis; a Redis that fails over by its sentinels."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from typing import TYPE_CHECKING

import pytest
from redis.sentinel import SentinelConnectionPool
from unit.standin_support import free_base_port

from moonlight_core import SessionManager, Settings, Status
from moonlight_core.errors import QuotaExceeded, StoreRefused, StoreUnavailable
from moonlight_core.redis_client import connect
from moonlight_core.store import SessionStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import redis

    from moonlight_core.secret import Secret
    from moonlight_core.testing import MemoryGateway
    from moonlight_core.users import User

READY = '{"phase":"ready","reason":"The desktop is ready."}'


@pytest.fixture
def heads(
    make_settings: Callable[..., Settings],
    redis_url: str,
    redis_client: redis.Redis,
    gateway: MemoryGateway,
    secret: Secret,
    resolve_user: Callable[..., User],
) -> Iterator[list[SessionManager]]:
    """Two services, each with connections of its own to the same Redis and the same Slurm."""
    redis_client.flushall()
    settings = make_settings(redis={"url": redis_url}, sessions={"per_user": 6})
    clients = [connect(settings.redis) for _ in range(2)]
    yield [
        SessionManager(
            settings,
            SessionStore(client),
            gateway,
            service_secret=secret,
            resolve_user=resolve_user,
        )
        for client in clients
    ]
    for client in clients:
        client.close()


def test_two_services_are_one(heads: list[SessionManager], gateway: MemoryGateway) -> None:
    """A session made by one is shown, followed and ended by the other; limits count together."""
    one, other = heads
    session = one.create("alice")
    assert other.get(session.session_id).job_id == session.job_id
    gateway.start(session.job_id or 0, "viz1")
    gateway.report(session.job_id or 0, READY)
    for _ in range(3):
        other.reconcile()
    assert one.get(session.session_id).status is Status.RUNNING
    for manager in (one, other, one, other, one):
        manager.create("alice")
    with pytest.raises(QuotaExceeded):
        other.create("alice")
    other.delete(session.session_id)
    one.reconcile()
    assert other.get(session.session_id).status is Status.STOPPED


def test_both_reconcile_at_once(heads: list[SessionManager], gateway: MemoryGateway) -> None:
    """Six sessions on a node get six different slots, whoever is faster."""
    sessions = [heads[i % 2].create("alice") for i in range(6)]
    for session in sessions:
        gateway.start(session.job_id or 0, "viz1")
        gateway.report(session.job_id or 0, READY)
    failures: list[BaseException] = []

    def rounds(manager: SessionManager) -> None:
        try:
            for _ in range(5):
                manager.reconcile()
        except BaseException as exc:  # noqa: BLE001 - shown by the test
            failures.append(exc)

    threads = [threading.Thread(target=rounds, args=(manager,)) for manager in heads * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    shown = [heads[0].get(session.session_id) for session in sessions]
    assert {session.status for session in shown} == {Status.RUNNING}
    assert len({session.display_num for session in shown}) == 6
    assert len({session.sunshine_port for session in shown}) == 6
    (viz1, _) = heads[1].nodes()
    assert (viz1.used, viz1.free) == (6, 0)


@pytest.fixture
def sentinels(tmp_path: Path) -> Iterator[Callable[[], str]]:
    """A master, a replica and a sentinel that watches them; returns the address by name."""
    for program in ("redis-server", "redis-cli"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    master, replica, watcher = free_base_port(), free_base_port(), free_base_port()
    processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(name: str, port: int, *options: str) -> None:
        folder = tmp_path / name
        folder.mkdir()
        command = ["redis-server"]
        if options[0] == "--sentinel":
            (folder / "conf").write_text(
                f"port {port}\nbind 127.0.0.1\ndir {folder}\nsentinel resolve-hostnames no\n"
                f"sentinel monitor mymaster 127.0.0.1 {master} 1\n"
                "sentinel down-after-milliseconds mymaster 500\n"
                "sentinel failover-timeout mymaster 3000\n"
            )
            command += [str(folder / "conf"), "--sentinel"]
        else:
            command += ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir"]
            command += [str(folder), *options]
        with (folder / "log").open("w") as log:
            processes[name] = subprocess.Popen(command, stdout=log, stderr=log)
        eventually(lambda: ask(port, "ping") == "PONG")

    start("master", master, "--appendonly", "no")
    start("replica", replica, "--replicaof", "127.0.0.1", str(master))
    eventually(lambda: "master_link_status:up" in ask(replica, "info", "replication"))
    start("watcher", watcher, "--sentinel")
    eventually(lambda: "slaves=1" in ask(watcher, "info", "sentinel"))

    def fail() -> None:
        processes["master"].kill()
        processes["master"].wait()

    address = f"redis+sentinel://127.0.0.1:{watcher}/mymaster/0"

    def give() -> str:
        give.fail = fail  # type: ignore[attr-defined]
        return address

    yield give
    for process in processes.values():
        process.kill()
        process.wait()


def ask(port: int, *words: str) -> str:
    """What a Redis answers to redis-cli."""
    done = subprocess.run(
        ["redis-cli", "-p", str(port), *words],
        check=False, capture_output=True, text=True, timeout=10,
    )  # fmt: skip
    return done.stdout.strip()


def eventually(good: Callable[[], bool], timeout_s: float = 30) -> None:
    """Wait until it is true."""
    deadline = time.monotonic() + timeout_s
    while not good():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_failover_is_followed(
    sentinels: Callable[[], str],
    make_settings: Callable[..., Settings],
    gateway: MemoryGateway,
    secret: Secret,
    resolve_user: Callable[..., User],
) -> None:
    """The records are there afterwards, and sessions go on being made; nudges, too."""
    settings = make_settings(redis={"url": sentinels()})
    client = connect(settings.redis)
    manager = SessionManager(
        settings,
        SessionStore(client),
        gateway,
        service_secret=secret,
        resolve_user=resolve_user,
    )
    session = manager.create("alice")
    stop = threading.Event()
    with manager.nudges() as nudges:
        nudges.wait(0.1, stop)
        time.sleep(0.5)  # for the replica, which is asynchronous
        sentinels.fail()  # type: ignore[attr-defined]
        with pytest.raises(StoreUnavailable):
            manager.create("bob")

        def again() -> bool:
            try:
                manager.reconcile()
            except StoreUnavailable:
                return False
            return True

        eventually(again)
        nudges.wait(0.1, stop)
    assert manager.get(session.session_id).job_id == session.job_id
    assert manager.create("bob").status is Status.PENDING
    pool = client.connection_pool
    assert isinstance(pool, SentinelConnectionPool)
    for sentinel in pool.sentinel_manager.sentinels:
        sentinel.close()
    client.close()


@pytest.mark.parametrize(
    "url", ["redis+sentinel://", "redis+sentinel://h:1", "redis+sentinel://u:p@h:1/m/0"]
)
def test_a_faulty_address_is_told(make_settings: Callable[..., Settings], url: str) -> None:
    """With how it should look, and without the password in it."""
    with pytest.raises(StoreRefused, match="HOST:PORT/NAME/DATABASE"):
        connect(make_settings(redis={"url": url}).redis)
