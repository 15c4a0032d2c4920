"""The service with less than root: as SlurmUser, and as an ordinary user for herself alone."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from on_cluster import SESSIONS, Api, run, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

PORT = 8205
IMAGE = """
[images.bare]
sif = "/opt/apptainers/sunshine_xfce4.sif"
desktop = "sleep infinity"
rootfs = "readonly"
cpus = 1
memory_gb = 1
gpus = 0
hours = 1
default = true
"""


@contextlib.contextmanager
def service(user: str, folder: Path, config: str) -> Iterator[subprocess.Popen[str]]:
    """A second service, as a user, with files that are the user's own."""
    entry = pwd.getpwnam(user)
    (folder / "moonlight.toml").write_text(config + IMAGE)
    (folder / "secret").write_text("0123456789abcdef" * 4 + "\n")
    for path in (folder, *folder.iterdir()):
        os.chown(path, entry.pw_uid, entry.pw_gid)
        path.chmod(0o700 if path.is_dir() else 0o600)
    process = subprocess.Popen(
        [sys.executable, "-m", "moonlight_http"],
        env={"PATH": os.environ["PATH"], "MOONLIGHT_CONFIG": str(folder / "moonlight.toml"),
             "PYTHONPATH": os.environ.get("PYTHONPATH", ""), "HOME": entry.pw_dir,
             "PYTHONDONTWRITEBYTECODE": "1"},
        user=user, group=entry.pw_gid, extra_groups=[], cwd="/", stderr=subprocess.PIPE, text=True,
    )  # fmt: skip

    def answers() -> bool:
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        try:
            return Api("", PORT)("GET", "/health")[0] == 200
        except OSError:
            return False

    try:
        wait_for(answers, bool, timeout_s=60)
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=30)


def test_as_slurm_user_for_everybody(open_path: Path) -> None:
    """It may submit for others and write AdminComment; it needs no capability of root's."""
    password = Path("/etc/moonlight/redis.moonlight.password").read_text()
    (open_path / "password").write_text(password)
    config = f"""
[service]
port = {PORT}
secret_file = "{open_path}/secret"
[redis]
url = "redis://10.213.0.1:6379/7"
username = "moonlight"
password_file = "{open_path}/password"
[slurm]
account = "research"
"""
    with service("slurm", open_path, config) as process:
        status = Path(f"/proc/{process.pid}/status").read_text()
        assert "CapEff:\t0000000000000000" in status
        bob = Api("bob", PORT)
        session_id = bob.create("bare")["session_id"]
        session = bob.wait(session_id, "running", timeout_s=120)
        job = run("scontrol", "show", "job", str(session["job_id"]))
        assert "UserId=bob(2002)" in job
        assert f"AdminComment=moonlight:{session_id}" in job
        bob.delete(session_id)
        assert bob.wait(session_id, "stopped")["status"] == "stopped"


@pytest.fixture
def own_redis(open_path: Path) -> Iterator[Path]:
    """A Redis of alice's own, as she would start one."""
    path = open_path / "redis"
    path.mkdir()
    os.chown(path, 2001, 2001)
    process = subprocess.Popen(
        ["redis-server", "--port", "0", "--unixsocket", str(path / "redis.sock"), "--save", "",
         "--dir", str(path)],
        user="alice", group="alice", extra_groups=[], stdout=subprocess.DEVNULL,
    )  # fmt: skip
    wait_for((path / "redis.sock").exists, bool)
    yield path / "redis.sock"
    process.terminate()
    process.wait(timeout=20)


def paired_before(user: str) -> list[str]:
    """The clients that a user's first identity knows: what she paired before is hers again."""
    state = Path(pwd.getpwnam(user).pw_dir, ".local/state/moonlight/identity-1/state.json")
    root = json.loads(state.read_text())["root"]
    return [client["uuid"] for client in root.get("named_devices") or []]


def test_as_oneself_for_oneself(open_path: Path, own_redis: Path) -> None:
    """No right but a user's own: the lease travels in Comment, and nobody else is served."""
    folder = open_path / "own"
    folder.mkdir()
    config = f"""
[service]
port = {PORT}
secret_file = "{folder}/secret"
single_user = true
[redis]
url = "unix://{own_redis}"
[slurm]
account = "research"
"""
    with service("alice", folder, config):
        alice = Api("alice", PORT)
        # root may set the header, as a proxy does; it names nobody but alice.
        status, answer = Api("bob", PORT)("POST", SESSIONS, {})
        assert (status, answer["code"]) == (403, "user_not_allowed")
        session_id = alice.create("bare")["session_id"]
        session = alice.wait(session_id, "running", timeout_s=120)
        job = run("scontrol", "show", "job", str(session["job_id"]))
        assert "UserId=alice(2001)" in job
        assert f" Comment=moonlight:{session_id} " in job.replace("\n", " ")
        assert f"display={session['display_num']} port={session['sunshine_port']}" in job
        assert "AdminComment=" not in job
        status, answer = alice("GET", f"{SESSIONS}/{session_id}/clients")
        assert status == 200
        assert [client["uuid"] for client in answer["clients"]] == paired_before("alice")
        # A lost Redis is rebuilt from Comment.
        run("redis-cli", "-s", str(own_redis), "flushall")
        found = wait_for(
            lambda: alice("GET", f"{SESSIONS}/{session_id}"),
            lambda seen: seen[0] == 200 and seen[1]["status"] == "running",
            timeout_s=90,
        )
        assert found[1]["sunshine_port"] == session["sunshine_port"]
        alice.delete(session_id)
        alice.wait(session_id, "stopped", timeout_s=60)
