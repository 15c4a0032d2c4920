"""What a second account on the same node can reach of a session: nothing. Each way is tried."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from on_cluster import SESSIONS, Api, Node, run, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# The connection setup of X11 (X Window System Protocol, appendix B): a cookie, and whether it does.
HANDSHAKE = """
import socket, struct, sys
display, cookie = int(sys.argv[1]), bytes.fromhex(sys.argv[2])
name = b"MIT-MAGIC-COOKIE-1" if cookie else b""
pad = lambda data: data + bytes(-len(data) % 4)
with socket.socket(socket.AF_UNIX) as x:
    x.settimeout(10)
    x.connect(sys.argv[3].replace("@", chr(0)) + "/tmp/.X11-unix/X" + str(display))
    x.sendall(b"l" + bytes(1) + struct.pack("<HHHHH", 11, 0, len(name), len(cookie), 0)
              + pad(name) + pad(cookie))
    print("refused accepted authenticate".split()[x.recv(1)[0]])
"""


@attrs.frozen
class Victim:
    """A running session of alice's, and the node it is on."""

    session: dict[str, Any]
    node: Node

    @property
    def folder(self) -> str:
        """Its private directory."""
        return f"/scratch/sunshine_sessions/{self.session['session_id']}"

    def can(self, user: str, *command: str) -> str:
        """What a command of a user's prints on the node; nothing when it fails."""
        return self.node.run(*command, user=user, check=False)

    @property
    def cookie(self) -> str:
        """The X authority's cookie, in hexadecimal."""
        return self.can("alice", "xauth", "-f", f"{self.folder}/xauthority", "list").split()[-1]


@pytest.fixture(scope="module")
def victim() -> Iterator[Victim]:
    """Made once: it is only looked at."""
    alice = Api("alice")
    session_id = alice.create("bare")["session_id"]
    session = alice.wait(session_id, "running", timeout_s=180)
    yield Victim(session, Node(session["slurm_node"]))
    alice.delete(session_id)
    alice.wait(session_id, "stopped", timeout_s=60)


@pytest.mark.parametrize(
    "path",
    [
        "{folder}/values", "{folder}/session.bash", "{folder}/job", "{folder}/xauthority",
        "{folder}/config/credentials.json", "{folder}/config/sunshine.conf",
        "{folder}/log/sunshine.log", "{folder}/log/x.log",
        "/scratch/sunshine_logs/{id}.log", "/home/alice/.local/state/moonlight/identity-1/key.pem",
        "/home/alice/.local/state/moonlight/identity-1/state.json",
    ],
)  # fmt: skip
def test_files(victim: Victim, path: str) -> None:
    """Everything that a session writes: hers, and nobody else's to read, write or list."""
    path = path.format(folder=victim.folder, id=victim.session["session_id"])
    identity = victim.can("alice", "sh", "-c", "ls -d ~alice/.local/state/moonlight/identity-*")
    path = path.replace("identity-1", identity.split()[0].rpartition("/")[2])
    assert victim.can("alice", "base64", path), path
    assert victim.can("bob", "base64", path) == ""
    assert victim.can("bob", "sh", "-c", f"echo x >>{path} && echo written") == ""
    assert victim.can("bob", "ls", victim.folder) == ""
    assert victim.can("bob", "sh", "-c", f"rm -rf {victim.folder}; mv {victim.folder} /x") == ""
    assert victim.can("alice", "base64", path)


def test_sockets_of_files(victim: Victim) -> None:
    """PulseAudio and D-Bus: their directories are hers alone."""
    found = victim.can("alice", "find", victim.folder, "-type", "s").split()
    assert any("pulse" in path for path in found)
    assert any(path.endswith("/bus") for path in found)
    connect = "import socket,sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1]); print('in')"
    for path in found:
        assert victim.can("alice", "python3", "-c", connect, path) == "in\n", path
        assert victim.can("bob", "python3", "-c", connect, path) == ""


@pytest.mark.parametrize("namespace", ["@", ""])
def test_the_x_server_wants_the_cookie(victim: Victim, namespace: str) -> None:
    """Its abstract socket is everybody's to connect to: without her cookie it lets nobody in."""
    shake = ("python3", "-c", HANDSHAKE, str(victim.session["display_num"]))
    if namespace == "@":
        assert victim.can("alice", *shake, victim.cookie, "@") == "accepted\n"
    for wrong in ("", "00" * 16, victim.cookie[:-2] + "00"):
        assert victim.can("bob", *shake, wrong, namespace) in ("refused\n", "")
    # Not even to herself, and not to root: it is the cookie that counts, not who asks.
    assert victim.can("alice", *shake, "", "@") == "refused\n"
    assert victim.can("root", *shake, "", "@") == "refused\n"


def secrets_of(victim: Victim) -> list[str]:
    """What must not be seen: cookie, hash of the password, the password itself."""
    stored = json.loads(victim.can("alice", "cat", f"{victim.folder}/config/credentials.json"))
    _, shown = Api("alice")("GET", f"{SESSIONS}/{victim.session['session_id']}/credentials")
    return [victim.cookie, stored["password"], stored["salt"], shown["password"]]


def test_processes(victim: Victim) -> None:
    """Environment, files, memory and root are closed; command lines hold no secret."""
    hidden = secrets_of(victim)
    pids = victim.node.processes("alice")
    assert len(pids) > 5
    for pid in pids:
        for place in ("environ", "maps", "mem", "stack", "auxv"):
            assert victim.can("bob", "head", "-c", "1", f"/proc/{pid}/{place}") == "", place
        for place in ("root/", "cwd/", "fd/"):
            assert victim.can("bob", "ls", f"/proc/{pid}/{place}") == "", place
        assert victim.can("bob", "sh", "-c", f"kill -0 {pid} 2>/dev/null && echo yes") == ""
    lines = victim.can("bob", "sh", "-c", "cat /proc/*/cmdline /proc/*/comm 2>/dev/null")
    assert "sunshine" in lines
    for secret in hidden:
        assert secret not in lines


def test_slurm_tells_no_secret(victim: Victim) -> None:
    """Job records are open on many clusters; scripts and environments are their owner's."""
    job = str(victim.session["job_id"])
    shown = victim.can("bob", "scontrol", "show", "job", "-d", job)
    shown += victim.can("bob", "sacct", "-j", job, "--format=ALL", "-P")
    shown += victim.can("bob", "scontrol", "write", "batch_script", job, "-")
    shown += victim.can("bob", "sh", "-c", "cat /var/spool/slurm/slurmd-*/job*/* 2>/dev/null")
    for secret in secrets_of(victim):
        assert secret not in shown
    assert "end_with_the_script" not in shown
    for change in ("Extra=x", "Comment=x", "AdminComment=x", "TimeLimit=1"):
        answer = victim.can(
            "bob", "sh", "-c", f"scontrol update JobId={job} {change} && echo changed"
        )
        assert answer == ""
    vouch = f"scontrol update JobId={job} AdminComment=x && echo changed"
    assert victim.can("alice", "sh", "-c", vouch) == ""
    assert victim.can("bob", "sh", "-c", f"scancel {job} && echo x; squeue -h -j {job}")


def test_sunshine_wants_the_password(victim: Victim) -> None:
    """Its web interface is open to the network: nobody gets further than the login."""
    place = f"https://127.0.0.1:{victim.session['sunshine_port'] + 1}"
    body = '{"currentUsername":"","newUsername":"x","newPassword":"x","confirmNewPassword":"x"}'
    for path, data in (
        ("/api/clients/list", None), ("/api/logs", None), ("/api/config", None),
        ("/api/pin", '{"pin":"0000","name":"x"}'), ("/api/password", body),
        ("/api/clients/unpair-all", "{}"), ("/api/apps", None),
    ):  # fmt: skip
        for login in ((), ("--user", "alice:guess")):
            command = ["curl", "-sk", "--noproxy", "*", "--max-time", "10", "-o", "/dev/null",
                       "-w", "%{http_code}", *login, place + path]  # fmt: skip
            if data is not None:
                command += ["-H", "Content-Type: application/json", "--data", data]
            assert victim.can("bob", *command) in ("401", "403"), path
    owner = Api("alice")("GET", f"{SESSIONS}/{victim.session['session_id']}/clients")
    assert owner[0] == 200


def test_a_forged_job_gets_nothing(
    victim: Victim, api: Callable[[str], Api], redis_cli: Callable[..., str]
) -> None:
    """Anybody may submit a job that calls itself a session: it is not adopted, shown or leased."""
    mine = victim.session["session_id"]
    forged = mine[:-1] + ("0" if mine[-1] != "0" else "1")
    script = "#!/bin/bash\nsleep 60\n"
    jobs = []
    for name in (mine, forged, forged.replace("ml-alice", "ml-bob")):
        comment = f"moonlight:{name} image=bare identity=1 cpus=1 memory_gb=1 gpus=0 hours=1"
        jobs.append(
            run(
                *("sbatch", "--parsable", "--uid=bob", "--gid=bob", "--partition=viz"),
                *(f"--job-name={name}", "--mem=100", "--chdir=/", "--output=/dev/null"),
                *("--export=NONE", f"--comment={comment}", "--qos=normal"),
                input=script,
            ).strip()
        )
    try:
        redis_cli("del", "moonlight:scan")
        run("python", "-m", "moonlight_core", "reconcile")
        for user in ("alice", "bob"):
            _, listed = api(user)("GET", SESSIONS)
            shown = {str(session["job_id"]) for session in listed["sessions"]}
            assert not shown & set(jobs)
        assert api("alice").get(mine)["status"] == "running"
        for job in jobs:
            assert "AdminComment" not in run("scontrol", "show", "job", job)
    finally:
        run("scancel", *jobs)


def test_what_the_owner_writes_is_shown_and_never_obeyed(api: Callable[[str], Api]) -> None:
    """Extra is the owner's: whatever it says, no slot, host or node of it is believed."""
    bob = api("bob")
    session_id = bob.create("bare")["session_id"]
    before = bob.wait(session_id, "running")
    job = str(before["job_id"])
    hostile = [
        "{", "[" * 900, '{"phase": "ready", "host": "169.254.169.254", "port": 22}',
        '{"phase": "ready", "display": 1, "port": 5900, "node": "head"}',
        '{"phase": "ready", "reason": "\\u001b[31m<script>alert(1)</script>\\u0000"}',
        '{"phase": "' + "x" * 500 + '"}', '{"phase": 7}', '{"phase": "ready", "cert": "zz"}',
        '{"phase": "slot_busy", "busy": "port", "port": 1}', "\\xff\\xfe", "%s%s%n$(id)`id`",
        '{"phase": "ready", "reason": {"a": [1]}, "restart": 1e308}',
    ]  # fmt: skip
    node = Node(before["slurm_node"])
    for text in hostile:
        node.run("scontrol", "update", f"JobId={job}", f"Extra={text}", user="bob", check=False)
        run("python", "-m", "moonlight_core", "reconcile")
        session = bob.get(session_id)
        for field in ("slurm_node", "display_num", "sunshine_port", "connect", "username"):
            assert session[field] == before[field], (text, field)
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", session["reason"] or "")
    wait_for(lambda: bob("GET", "/health")[1], lambda health: health["status"] == "ok")
