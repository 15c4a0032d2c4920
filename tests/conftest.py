"""What several test folders share: settings, accounts, a private Redis."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
import redis
from xdist.scheduler import LoadScopeScheduling

from moonlight_core import Settings
from moonlight_core.errors import UserNotAllowed
from moonlight_core.secret import Secret
from moonlight_core.store import SessionStore
from moonlight_core.testing import MemoryGateway
from moonlight_core.users import User

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# A shared machine is slow now and then; the time limit of a test is pytest's.
hypothesis.settings.register_profile("shared", deadline=None)
hypothesis.settings.load_profile("shared")

USERS = {"alice": 2001, "bob": 2002, "carol": 2003}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Try what failed beside real daemons once more: the machines are shared, and may have stalled.

    The summary counts it as rerun, so that a fault that comes and goes is not hidden. Unit tests
    and the slow ones have one try.
    """
    here = Path(__file__).parent
    for item in items:
        real = {here / "integration", here / "cluster"} & set(item.path.parents)
        if real and item.get_closest_marker("slow") is None:
            item.add_marker(pytest.mark.flaky(reruns=1))


class _ClusterApart(LoadScopeScheduling):
    """What needs the cluster has it for itself: one process runs all of it, others run the rest.

    pytest-xdist's own ``loadgroup`` does not see the groups of pytest 9.2.
    """

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        return "cluster" if module.startswith("tests/cluster/") else module


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """How ``./dev test`` shares the tests out."""
    return _ClusterApart(config, log)


@pytest.fixture
def open_path(tmp_path: Path) -> Path:
    """A directory as ``tmp_path``, which every account of the machine can reach."""
    for folder in (tmp_path, *tmp_path.parents):
        if folder.name.startswith(("pytest-", "popen-", "test_")):
            folder.chmod(0o755)
    return tmp_path


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A redis-server of our own on a unix socket; none is a skip on a laptop, not in CI."""
    program = shutil.which("redis-server")
    if program is None:
        if "CI" in os.environ:
            pytest.fail("redis-server is missing")
        pytest.skip("redis-server is not installed")
    directory = tmp_path_factory.mktemp("redis")
    path = directory / "redis.sock"
    command = [program, "--port", "0", "--unixsocket", str(path), "--save", "", "--dir"]
    with (directory / "log").open("w") as log:
        server = subprocess.Popen([*command, str(directory)], stdout=log)
    deadline = time.monotonic() + 10
    while not path.exists():
        assert time.monotonic() < deadline, (directory / "log").read_text()
        time.sleep(0.01)
    yield f"unix://{path}"
    server.terminate()
    server.wait(timeout=10)


@pytest.fixture
def redis_client(redis_url: str) -> Iterator[redis.Redis]:
    """An empty database of the private Redis."""
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        client.flushall()
        yield client


@pytest.fixture
def store(redis_client: redis.Redis) -> SessionStore:
    """A store on the private Redis."""
    return SessionStore(redis_client)


@pytest.fixture
def gateway() -> MemoryGateway:
    """A Slurm without a Slurm."""
    return MemoryGateway()


@pytest.fixture
def secret() -> Secret:
    """The service's secret."""
    return Secret("0123456789abcdef" * 4)


@pytest.fixture
def image_dir() -> Iterator[Path]:
    """A directory with an image file; unlike ``tmp_path`` it is open to users."""
    with tempfile.TemporaryDirectory(prefix="moonlight-images-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "sunshine_xfce4.sif").touch(mode=0o644)
        yield folder


@pytest.fixture
def make_settings(image_dir: Path) -> Callable[..., Settings]:
    """Settings of a document whose image file exists."""

    def make(**document: dict[str, object]) -> Settings:
        document["paths"] = {"images": str(image_dir)} | document.get("paths", {})
        return Settings.from_mapping(document, {})

    return make


@pytest.fixture
def resolve_user() -> Callable[..., User]:
    """Accounts that do not depend on the machine's."""

    def resolve(name: str, *, first_uid: int) -> User:
        if USERS.get(name, 0) < first_uid:
            raise UserNotAllowed(f"There is no account {name} on this system.")
        uid = USERS[name]
        return User(name=name, uid=uid, gid=uid, home=f"/home/{name}", shell="/bin/bash")

    return resolve
