"""What docs/install.md has an administrator type at Redis, typed at one."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/install.md").read_text("utf-8")


@pytest.fixture
def type_in(
    redis_url: str, redis_client: redis.Redis, tmp_path: Path
) -> Iterator[Callable[[str], None]]:
    """Types the block that names a file, below the checkout; its Redis is the private one."""
    program = shutil.which("redis-cli")
    if program is None:
        pytest.skip("redis-cli is not installed")
    (tmp_path / "bin").mkdir()
    shim = tmp_path / "bin/redis-cli"
    shim.write_text(f'#!/bin/sh\nexec {program} -s {redis_url.removeprefix("unix://")} "$@"\n')
    shim.chmod(0o755)

    def run(file: str) -> None:
        (block,) = (text for text in re.findall(r"(?s)```sh\n(.*?)```", PAGE) if file in text)
        for place in ("/etc/moonlight", "/usr/local/libexec"):
            block = block.replace(place, str(tmp_path))
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block.replace("chown slurm", 'chown "$(id -u)"')],
            check=False, capture_output=True, text=True, cwd=ROOT, timeout=30,
            env={"PATH": f"{shim.parent}:/usr/local/bin:/usr/bin:/bin"},
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")

    yield run
    redis_client.execute_command("ACL", "DELUSER", "moonlight", "moonlight-nudge")


def user(url: str, name: str, file: Path) -> redis.Redis:
    """A connection with what the page wrote down."""
    assert file.stat().st_mode & 0o777 == 0o600
    return redis.Redis.from_url(url, username=name, password=file.read_text().strip())


def test_the_services_user(type_in: Callable[[str], None], redis_url: str, tmp_path: Path) -> None:
    """It reaches our keys and no others."""
    type_in("deploy/redis/moonlight.acl")
    with user(redis_url, "moonlight", tmp_path / "redis.password") as ours:
        assert ours.set("moonlight:x", "1")
        with pytest.raises(redis.exceptions.NoPermissionError):
            ours.get("vnc:session:x")


def test_the_nudges_user(type_in: Callable[[str], None], redis_url: str, tmp_path: Path) -> None:
    """It says one word on one channel."""
    type_in("deploy/redis/moonlight-nudge.acl")
    assert (tmp_path / "moonlight-nudge").stat().st_mode & 0o777 == 0o755
    words = dict(line.split("=") for line in (tmp_path / "nudge.conf").read_text().splitlines())
    assert words["user"] == "moonlight-nudge"
    with user(redis_url, words["user"], Path(words["password_file"])) as theirs:
        assert theirs.publish("moonlight:events", "nudge") == 0
        with pytest.raises(redis.exceptions.NoPermissionError):
            theirs.get("moonlight:x")
