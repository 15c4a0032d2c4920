"""deploy/: what a site installs, tried with the real programs: pip, nginx, sacctmgr, systemd."""

from __future__ import annotations

import base64
import contextlib
import grp
import http.client
import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from on_cluster import Api, Node, run, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

DEPLOY = Path(__file__).parents[2] / "deploy"
PREFIX = Path("/opt/moonlight-site")
BACKEND = PREFIX / "backend_moonlight_8004"
CONFIG = Path("/etc/moonlight-site")
PORT = 8014
SOCKET = Path("/run/moonlight-site/http.sock")
USERS_SOCKET = SOCKET.with_name("users.sock")
LINK = Path("/usr/local/bin/moonlight")
PROXY_PORT = 8015


def install(*options: str | Path, expect: int = 0, **environment: str) -> str:
    """Run the installer; what it said."""
    # Of those that ./dev up has built, the last.
    wheels = Path("/var/cache/moonlight-dev/wheels").glob("*/*.whl")
    wheel = max(wheels, key=lambda path: path.stat().st_mtime)
    done = subprocess.run(
        [DEPLOY / "install", *("--prefix", PREFIX, "--config-dir", CONFIG),
         "--pyslurm", wheel, *options],
        check=False, capture_output=True, text=True, timeout=280, env={**os.environ, **environment},
    )  # fmt: skip
    assert done.returncode == expect, done.stderr + done.stdout
    return done.stderr


def pid() -> int | None:
    """The installed service's process, by the name under which it is seen."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (folder / "cmdline").read_bytes().split(b"\0")
            if (folder / "comm").read_text() == "moonlight_8004\n" and b"moonlight_http" in command:
                return int(folder.name)
    return None


@pytest.fixture(scope="module")
def site() -> Iterator[Path]:
    """A service installed by the installer, beside the cluster's own, on a port of its own."""
    for path in (PREFIX, CONFIG):
        shutil.rmtree(path, ignore_errors=True)
    told = install("--dry-run")
    assert "would install" in told
    assert not PREFIX.exists()
    assert not CONFIG.exists()
    # An administrator's own files are often closed to others; the command is for everybody.
    before = os.umask(0o077)
    try:
        told = install("--link")
    finally:
        os.umask(before)
    assert "moonlight doctor" in told
    secret = CONFIG / "secret"
    assert secret.stat().st_mode & 0o777 == 0o600
    assert len(secret.read_text()) == 64
    assert "#port = 8004" in (CONFIG / "moonlight.toml").read_text()
    SOCKET.parent.mkdir(mode=0o755, exist_ok=True)
    (CONFIG / "moonlight.toml").write_text(
        re.sub(
            r"(?m)^\[service\]$",
            f'[service]\nport = {PORT}\nsocket = "{SOCKET}"\nsocket_group = "www-data"',
            Path("/etc/moonlight/moonlight.toml")
            .read_text()
            .replace("/run/moonlight/users.sock", str(USERS_SOCKET)),
        )
    )
    run(str(BACKEND / "moonlight_8004"), "start")
    wait_for(lambda: healthy(PORT), bool)
    yield BACKEND
    if (BACKEND / "moonlight_8004").exists():
        run(str(BACKEND / "moonlight_8004"), "stop", check=False)
    LINK.unlink(missing_ok=True)
    for path in (PREFIX, CONFIG, SOCKET.parent):
        shutil.rmtree(path, ignore_errors=True)


def healthy(port: int) -> bool:
    """Whether a service answers there."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with contextlib.closing(connection), contextlib.suppress(OSError):
        connection.request("GET", "/health")
        return bool(json.loads(connection.getresponse().read())["status"] == "ok")
    return False


def test_what_is_installed(site: Path, tmp_path: Path) -> None:
    """Its own environment, logs, configuration and pid; seen as moonlight_8004."""
    assert (site / "venv").is_symlink()
    assert (site / "etc").resolve() == CONFIG
    assert (site / "logs/service.log").is_file()
    assert int((site / "moonlight_8004.pid").read_text()) == pid()
    assert "moonlight_8004 runs as process" in run(str(site / "moonlight_8004"), "status")
    assert "runs already" in run(str(site / "moonlight_8004"), "start")
    shown = run(str(site / "venv/bin/moonlight"), "--config", f"{CONFIG}/moonlight.toml", "images")
    assert "xfce4" in shown
    (tmp_path / "attrs.py").write_text("raise SystemExit('some other attrs')")
    told = run(
        str(site / "venv/bin/moonlight"), "--version",
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert told.startswith("moonlight ")
    # What runs is what was installed, whatever PYTHONPATH these tests have.
    assert "PYTHONPATH" in os.environ
    environment = Path(f"/proc/{pid()}/environ").read_bytes().split(b"\0")
    assert not [value for value in environment if value.startswith(b"PYTHONPATH=")]


def test_users_run_what_is_installed(site: Path) -> None:
    """By the link, and whatever the installing shell's umask; logs and secrets stay closed."""
    assert LINK.resolve().parent == (site / "venv").resolve() / "bin"
    told = run(
        *("runuser", "-u", "alice", "--", LINK, "images", "--json"),
        env={"PATH": os.environ["PATH"], "MOONLIGHT_CONFIG": f"{CONFIG}/moonlight.toml"},
    )
    assert "bare" in {image["id"] for image in json.loads(told)}
    for closed in (site / "logs/service.log", CONFIG / "secret"):
        done = subprocess.run(["runuser", "-u", "alice", "--", "cat", closed], check=False,
                              capture_output=True)  # fmt: skip
        assert done.returncode != 0, closed


def test_what_is_installed_is_what_the_lock_says(site: Path) -> None:
    """Every dependency in its version; beside them pyslurm and ourselves alone."""
    lock = (DEPLOY.parent / "requirements.lock").read_text("utf-8")
    pinned = dict(re.findall(r"(?m)^([a-z0-9-]+)==(\S+)", lock))
    python = str(site / "venv/bin/python")
    packages = json.loads(run(python, "-m", "pip", "list", "--format", "json"))
    found = {package["name"].lower().replace("_", "-"): package["version"] for package in packages}
    for name in ("pip", "setuptools", "pyslurm", "moonlight-slurm"):
        found.pop(name, None)
    assert {"falcon", "redis", "cryptography"} <= set(found)
    assert found.items() <= pinned.items()


@pytest.mark.slow  # downloads, and two more installations
def test_without_network_and_with_a_changed_package(site: Path, tmp_path: Path) -> None:
    """From a directory of wheels; one that is not what the lock says is refused."""
    wheels = tmp_path / "wheels"
    pip = (str(site / "venv/bin/python"), "-m", "pip")
    lock = str(DEPLOY.parent / "requirements.lock")
    run(*pip, "download", "--quiet", "--only-binary", ":all:", "--require-hashes", "-r", lock,
        "-d", str(wheels))  # fmt: skip
    shutil.copytree(
        DEPLOY.parent, tmp_path / "source", ignore=shutil.ignore_patterns(".*", "__pycache__")
    )
    run(*pip, "wheel", "--quiet", "--no-deps", "-w", str(wheels), str(tmp_path / "source"))
    (ours,) = wheels.glob("moonlight_slurm-*.whl")
    before, running = (site / "venv").resolve(), pid()
    no_index = {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": "http://127.0.0.1:9/"}
    options = ("--wheels", wheels, "--source", ours)
    (falcon,) = wheels.glob("falcon-*.whl")
    genuine = falcon.read_bytes()
    falcon.write_bytes(genuine + b"\0")
    assert "what runs now goes on" in install(*options, expect=4, **no_index)
    assert ((site / "venv").resolve(), pid()) == (before, running)
    falcon.write_bytes(genuine)
    install(*options, **no_index)
    assert (site / "venv").resolve() != before
    wait_for(lambda: healthy(PORT), bool)


@pytest.fixture
def nginx(site: Path, open_path: Path) -> Iterator[None]:
    """The real nginx with our location blocks in a server of the site's, as www-data."""
    assert site
    hashed = run("openssl", "passwd", "-apr1", "wonderland").strip()
    (open_path / "htpasswd").write_text(f"alice:{hashed}\n")
    socket_block = (
        (DEPLOY / "nginx/moonlight.conf").read_text()
        .replace("http://127.0.0.1:8004", f"http://unix:{SOCKET}:")
        .replace("/api/moonlight/ {", "/socket/ {\n rewrite ^/socket/(.*) /api/moonlight/$1 break;")
    )  # fmt: skip
    (open_path / "socket.conf").write_text(socket_block)
    for name in ("moonlight.conf", "moonlight-stripped.conf"):
        text = (DEPLOY / "nginx" / name).read_text()
        assert "127.0.0.1:8004" in text
        (open_path / name).write_text(text.replace("127.0.0.1:8004", f"127.0.0.1:{PORT}"))
    (open_path / "nginx.conf").write_text(
        f"""user www-data; daemon off; pid {open_path}/pid; error_log {open_path}/error.log;
        events {{}}
        http {{ access_log off; client_body_temp_path {open_path}/body;
          proxy_temp_path {open_path}/p; fastcgi_temp_path {open_path}/f;
          uwsgi_temp_path {open_path}/u; scgi_temp_path {open_path}/s;
          server {{ listen 127.0.0.1:{PROXY_PORT};
            auth_basic site; auth_basic_user_file {open_path}/htpasswd;
            location / {{ return 200 "site"; }}
            include {open_path}/moonlight.conf; include {open_path}/moonlight-stripped.conf;
            include {open_path}/socket.conf; }} }}"""
    )
    run("nginx", "-t", "-c", str(open_path / "nginx.conf"))
    server = subprocess.Popen(["nginx", "-c", open_path / "nginx.conf"])
    wait_for(lambda: proxied("GET", "/")[0], lambda status: status == 200)
    yield
    server.terminate()
    server.wait(timeout=10)


def proxied(method: str, path: str, *, login: bool = True, **headers: str) -> tuple[int, Any]:
    """A request through the proxy: status and answer."""
    if login:
        headers["Authorization"] = "Basic " + base64.b64encode(b"alice:wonderland").decode()
    connection = http.client.HTTPConnection("127.0.0.1", PROXY_PORT, timeout=30)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        text = answer.read()
    except OSError:
        return 0, None
    finally:
        connection.close()
    with contextlib.suppress(ValueError):
        return answer.status, json.loads(text)
    return answer.status, text


@pytest.mark.usefixtures("nginx")
def test_the_proxy_says_who_is_asking() -> None:
    """As it is, with the path stripped, and over the socket; a forged header is replaced."""
    for base in ("/api/moonlight", "/desktops", "/socket"):
        status, images = proxied("GET", f"{base}/images")
        assert (status, images["images"][0]["id"]) == (200, "xfce4"), base
        assert proxied("GET", f"{base}/images", login=False)[0] == 401
        forged = {"X-Remote-User": "carol"}
        status, answer = proxied("GET", f"{base}/sessions?all=true", **forged)
        assert status == 403, (base, answer)
        status, answer = proxied("DELETE", f"{base}/sessions/ml-nobody")
        assert (status, answer["code"]) == (404, "session_not_found"), base
    assert proxied("GET", "/") == (200, b"site")


ASK = """
import socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.settimeout(30)
try:
    connection.connect(sys.argv[1])
except PermissionError:
    sys.exit("may not connect")
connection.sendall(
    b"GET /api/moonlight/images HTTP/1.1\\r\\nHost: x\\r\\n"
    b"X-Remote-User: carol\\r\\nConnection: close\\r\\n\\r\\n"
)
print(connection.makefile("rb").read().decode())
"""


@pytest.mark.usefixtures("nginx")
def test_the_socket_is_the_proxys_alone() -> None:
    """The header passes with nginx; an account of this host does not reach the socket.

    One that does, as a member of the proxy's group, is not believed.
    """
    assert proxied("GET", "/socket/images")[0] == 200
    state = SOCKET.stat()
    assert (state.st_mode & 0o7777, grp.getgrgid(state.st_gid).gr_name) == (0o660, "www-data")

    def ask(*options: str) -> str:
        command = ["setpriv", *options, "python3", "-c", ASK, SOCKET]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
        return done.stdout + done.stderr

    bob = ("--reuid", "bob", "--regid", "bob")
    assert ask(*bob, "--init-groups") == "may not connect\n"
    member = ask(*bob, "--groups", "www-data")
    assert member.startswith("HTTP/1.1 403"), member
    assert "untrusted_proxy" in member
    proxy = ask("--reuid", "www-data", "--regid", "www-data", "--init-groups")
    assert proxy.startswith("HTTP/1.1 200"), proxy


class Desktop:
    """A running session of alice's, made through the installed service."""

    def __init__(self) -> None:
        api = Api("alice", port=PORT)
        _, made = api("POST", "/api/moonlight/sessions", {"image_id": "bare"})
        self.id = made["session_id"]
        self.path = f"/api/moonlight/sessions/{self.id}"
        seen = wait_for(lambda: api("GET", self.path)[1], lambda s: s["status"] == "running")
        self.job = str(seen["job_id"])

    def runs(self, port: int = PORT) -> bool:
        """Whether a service and Slurm both say so."""
        state = run("squeue", "-h", "-j", self.job, "-o", "%T").strip()
        status = Api("alice", port=port)("GET", self.path)[1]["status"]
        return (state, status) == ("RUNNING", "running")


@pytest.fixture
def desktop(site: Path) -> Iterator[Desktop]:
    """One, ended afterwards through the cluster's own service."""
    assert site
    made = Desktop()
    yield made
    Api("alice").delete(made.id)


@pytest.mark.slow  # four more installations
def test_upgrade_and_rollback_leave_sessions_running(
    site: Path, desktop: Desktop, tmp_path: Path
) -> None:
    """A configuration that a release does not take changes nothing."""
    first, release = pid(), (site / "venv").resolve()
    config = CONFIG / "moonlight.toml"
    kept = config.read_text()
    config.write_text(kept + "\n[nonsense]\n")
    assert "nothing was changed" in install(expect=78)
    assert (pid(), (site / "venv").resolve()) == (first, release)
    config.write_text(kept)
    install()
    assert (site / "venv").resolve() != release
    assert pid() not in (None, first)
    assert desktop.runs()
    upgraded = (site / "venv").resolve()
    install("--rollback")
    assert (site / "venv").resolve() == release
    assert desktop.runs()
    # One that does not answer goes, and is never rolled back to; a stopped service stays stopped.
    broken = tmp_path / "broken"
    shutil.copytree(DEPLOY.parent, broken, ignore=shutil.ignore_patterns(".*", "__pycache__"))
    (broken / "moonlight_http/__main__.py").write_text("raise SystemExit(1)\n")
    assert "was removed" in install("--source", broken, expect=4)
    assert (site / "venv").resolve() == release
    wait_for(lambda: healthy(PORT), bool)
    assert {folder.resolve() for folder in (site / "releases").iterdir()} == {release, upgraded}
    run(str(site / "moonlight_8004"), "stop")
    install("--rollback")
    assert ((site / "venv").resolve(), pid()) == (upgraded, None)
    run(str(site / "moonlight_8004"), "start")
    wait_for(lambda: healthy(PORT), bool)
    assert desktop.runs()


def test_removal_leaves_sessions_and_neighbours_alone(
    site: Path, desktop: Desktop, redis_cli: Any
) -> None:
    """Nobody else's process, file or key is touched; what is not ours to throw away stays."""
    redis_cli("set", "vnc:session:deploy-test", "theirs")
    try:
        assert "Sessions go on" in install("--uninstall")
        assert pid() is None
        assert not (site / "venv").exists()
        assert not LINK.is_symlink()
        assert (site / "logs/service.log").exists()
        assert (CONFIG / "moonlight.toml").exists()
        assert desktop.runs(port=8004)
        assert healthy(8004)
        assert redis_cli("get", "vnc:session:deploy-test") == "theirs\n"
        install("--uninstall", "--purge")
        assert not site.exists()
        assert not CONFIG.exists()
    finally:
        redis_cli("del", "vnc:session:deploy-test")


@pytest.mark.parametrize(
    "options",
    [
        ("--prefix", "/opt/backend_5010/x"),
        ("--config-dir", "/scratch/vnc_x"),
        ("--python", "/bin/false"),
    ],
)
def test_the_installer_refuses(options: tuple[str, ...]) -> None:
    """The neighbour's places, and what cannot work."""
    done = subprocess.run(
        [DEPLOY / "install", "--prefix", "/opt/refused", *options],
        check=False, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert done.returncode == 3
    assert not Path("/opt/refused").exists()


def test_the_qos_is_set_up_once() -> None:
    """A dry run changes nothing, a second run has nothing to do."""
    script, qos = str(DEPLOY / "slurm/setup-accounting"), f"ml-test-{time.time_ns() % 10**6}"
    command = [script, "--qos", qos, "--max-wall", "4:00:00", "--gpus-per-user", "1", "research"]

    def known() -> str:
        limits = "format=maxwall,gracetime,maxtresperuser"
        return run("sacctmgr", "-nP", "show", "qos", f"name={qos}", limits)

    def research() -> str:
        return run("sacctmgr", "-nP", "show", "assoc", "account=research", "format=user,qos")

    before = research()
    try:
        assert "dry run" in run(*command, "--dry-run")
        assert known() == ""
        told = run(*command)
        assert f"modify account name=research set qos+={qos}" in told
        assert "alice" in told.splitlines()[-1]
        assert known() == "04:00:00|00:01:00|gres/gpu=1\n"
        assert qos in next(line for line in research().splitlines() if line.startswith("|"))
        assert run(*command).endswith(f"nothing to do: {qos} is as asked for\n")
        assert run(*command, "--max-wall", "8:00:00").count("sacctmgr -i") == 1
        done = subprocess.run([script, "nosuch"], check=False, capture_output=True, text=True)
        assert done.returncode == 3
    finally:
        run(
            "sacctmgr",
            "-i",
            "modify",
            "account",
            "name=research",
            "set",
            f"qos-={qos}",
            check=False,
        )
        run("sacctmgr", "-i", "delete", "qos", qos, check=False)
    assert research() == before


def test_ports_are_reserved(nodes: dict[str, Node]) -> None:
    """The kernel takes the file as it is: the nodes did when they booted."""
    for node in nodes.values():
        reserved = node.run("cat", "/proc/sys/net/ipv4/ip_local_reserved_ports")
        assert reserved == "47984-48031\n"


def test_units_hold(tmp_path: Path) -> None:
    """Systemd understands them, and finds the service confined."""
    executable = tmp_path / "backend/venv/bin"
    executable.mkdir(parents=True)
    for name in ("moonlight_8004", "moonlight"):
        (executable / name).touch(mode=0o755)
    for file in (DEPLOY / "systemd").iterdir():
        text = file.read_text().replace("@BACKEND@", str(tmp_path / "backend"))
        (tmp_path / file.name).write_text(text.replace("@CONFIG@", "/etc/moonlight"))
    units = [str(tmp_path / file.name) for file in (DEPLOY / "systemd").iterdir()]
    done = subprocess.run(
        ["systemd-analyze", "verify", *units], check=False, capture_output=True, text=True
    )
    complaints = [line for line in done.stderr.splitlines() if "moonlight" in line]
    assert complaints == []
    unit = str(tmp_path / "moonlight_8004.service")
    told = run("systemd-analyze", "security", "--offline=true", unit)
    level = re.search(r"exposure level.*: ([\d.]+)", told)
    assert level is not None
    assert float(level[1]) < 3.5


def test_logs_are_turned_and_directories_made(open_path: Path) -> None:
    """By the real logrotate and systemd-tmpfiles."""
    logs = open_path / "logs"
    logs.mkdir()
    (logs / "service.log").write_text("line\n")
    rules = open_path / "rules"
    text = (DEPLOY / "logrotate/moonlight").read_text()
    rules.write_text(text.replace("@BACKEND@", str(open_path)))
    run("logrotate", "--force", "--state", str(open_path / "state"), str(rules))
    assert (logs / "service.log").read_text() == ""
    assert (logs / "service.log.1").read_text() == "line\n"
    made = str(DEPLOY / "tmpfiles/moonlight.conf")
    run("systemd-tmpfiles", "--create", f"--root={open_path}", made)
    assert (open_path / "scratch/sunshine_sessions").stat().st_mode & 0o7777 == 0o1777
