"""The doctor, check by check, on things broken for it; Slurm's checks are on the cluster."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from moonlight_core import Settings, cli
from moonlight_core.doctor import CHECKS, Finding, Grade, Site, examine
from moonlight_core.doctor.images import advisories, older
from moonlight_core.doctor.limits import minutes
from moonlight_core.doctor.node import _clock, _foreign, _judged
from moonlight_core.doctor.ports import unreserved_ports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GREEN, YELLOW, RED = Grade.GREEN, Grade.YELLOW, Grade.RED


@pytest.fixture
def look(make_settings: Callable[..., Settings], redis_url: str) -> Callable[..., list[Finding]]:
    """One check on settings of a document."""

    def _look(check: str, **document: Any) -> list[Finding]:
        document.setdefault("redis", {"url": redis_url})
        site = Site(settings=make_settings(**document), environ={})
        found = [finding for _, finding in examine(site, [check])]
        assert found
        for finding in found:
            assert bool(finding.mend) == (finding.grade is not GREEN), finding
            assert finding.message.endswith(".")
        return found

    return _look


def grades(findings: list[Finding]) -> list[Grade]:
    """How they are."""
    return [finding.grade for finding in findings]


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Starts a Redis with options of the test's choice; returns its address."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed")
    servers = []

    def start(*options: str) -> str:
        path = tmp_path / "own.sock"
        server = subprocess.Popen(
            [program, "--port", "0", "--unixsocket", str(path), "--dir", str(tmp_path), *options],
            stdout=subprocess.DEVNULL,
        )
        servers.append(server)
        deadline = time.monotonic() + 10
        while not path.exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return f"unix://{path}"

    yield start
    for server in servers:
        server.terminate()
        server.wait(timeout=10)


def test_redis_away(look: Callable[..., list[Finding]], tmp_path: Path) -> None:
    """Red, with how to try by hand; checks that cannot be carried out say why."""
    gone = {"url": f"unix://{tmp_path}/none.sock"}
    (found,) = look("redis", redis=gone)
    assert found.grade is RED
    assert "redis-cli" in found.mend
    for check in ("redis-acl", "redis-memory", "redis-clock"):
        assert grades(look(check, redis=gone)) == [RED]


def test_a_redis_that_evicts_and_forgets(
    look: Callable[..., list[Finding]], own_redis: Callable[..., str]
) -> None:
    """Yellow twice; a whole one is green, and its clock is ours."""
    url = own_redis("--maxmemory-policy", "allkeys-lru", "--save", "")
    policy, persistence = look("redis-memory", redis={"url": url})
    assert (policy.grade, persistence.grade) == (YELLOW, YELLOW)
    assert "allkeys-lru" in policy.message
    assert "appendonly" in persistence.mend
    assert grades(look("redis", redis={"url": url})) == [GREEN]
    assert grades(look("redis-clock", redis={"url": url})) == [GREEN]


def test_a_redis_that_keeps(
    look: Callable[..., list[Finding]], own_redis: Callable[..., str]
) -> None:
    """Green, as docs/install.md asks for it."""
    url = own_redis("--appendonly", "yes")
    assert grades(look("redis-memory", redis={"url": url})) == [GREEN, GREEN]


def test_a_redis_user_of_our_own(
    look: Callable[..., list[Finding]], own_redis: Callable[..., str], tmp_path: Path
) -> None:
    """The shipped ACL: green, and the checks still see what they need; a wrong password is red."""
    url = own_redis("--appendonly", "yes")
    rules = (Path(__file__).parents[2] / "deploy/redis/moonlight.acl").read_text().splitlines()
    (rule,) = [line for line in rules if line.startswith("user ")]
    words = rule.replace(">PASSWORD", ">s3cret").split()[1:]
    subprocess.run(
        ["redis-cli", "-s", url.removeprefix("unix://"), "ACL", "SETUSER", *words],
        check=True,
        timeout=10,
        stdout=subprocess.DEVNULL,
    )
    password = tmp_path / "password"
    password.write_text("s3cret\n")
    password.chmod(0o600)
    settings = {"url": url, "username": "moonlight", "password_file": str(password)}
    for check in ("redis", "redis-acl", "redis-memory", "redis-clock"):
        assert set(grades(look(check, redis=settings))) == {GREEN}
    assert grades(look("redis-acl", redis={"url": url})) == [YELLOW]
    password.write_text("wrong\n")
    (found,) = look("redis", redis=settings)
    assert found.grade is RED
    assert "refused" in found.message


@pytest.mark.parametrize(
    ("mode", "grade", "part"),
    [
        (0o1777, GREEN, "Owner and mode are right"),
        (0o777, RED, "remove other users' directories"),
        (0o755, RED, "users cannot write"),
    ],
)
def test_directories(
    look: Callable[..., list[Finding]], tmp_path: Path, mode: int, grade: Grade, part: str
) -> None:
    """The mode of /tmp, or it is not safe or of no use."""
    names = ("sandboxes", "sessions", "logs")
    paths = {name: tmp_path / f"sunshine_{name}" for name in names}
    for path in paths.values():
        path.mkdir()
        path.chmod(mode)
    found = look("directories", paths={name: str(path) for name, path in paths.items()})
    if os.geteuid() != 0:
        pytest.skip("root owns the directories of a site")
    assert grades(found) == [grade] * 3
    assert part in found[0].message


def test_directories_that_are_none(look: Callable[..., list[Finding]], tmp_path: Path) -> None:
    """Missing, or a file."""
    (tmp_path / "sunshine_logs").touch()
    paths = {name: str(tmp_path / f"sunshine_{name}") for name in ("sandboxes", "sessions", "logs")}
    found = look("directories", paths=paths)
    assert grades(found) == [RED] * 3
    assert "install -d" in found[0].mend
    assert "no directory" in found[2].message


def test_secrets(look: Callable[..., list[Finding]], tmp_path: Path, redis_url: str) -> None:
    """Ours alone, or red."""
    secret = tmp_path / "secret"
    secret.write_text("0" * 64)
    for mode, grade in ((0o600, GREEN), (0o640, RED)):
        secret.chmod(mode)
        found = look(
            "secrets",
            service={"secret_file": str(secret)},
            redis={"url": redis_url, "password_file": str(secret)},
        )
        assert grades(found) == [grade, grade]
    assert "chmod 600" in found[0].mend


def test_images(look: Callable[..., list[Finding]], image_dir: Path) -> None:
    """Present, and open to users on the whole way."""
    sif = image_dir / "sunshine_xfce4.sif"
    assert grades(look("images")) == [GREEN]
    for part, mode in ((sif, 0o600), (image_dir, 0o700)):
        kept = part.stat().st_mode
        part.chmod(mode)
        (found,) = look("images")
        assert found.grade is RED
        assert str(part) in found.mend
        part.chmod(kept)
    sif.unlink()
    (found,) = look("images")
    assert "definitions/build xfce4" in found.mend


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("2026.816.1200", [GREEN]),
        ("2026.516.143833+standin", [YELLOW]),
        ("2025.924.154138", [RED, YELLOW]),
    ],
)
def test_known_vulnerabilities(
    look: Callable[..., list[Finding]], image_dir: Path, version: str, expected: list[Grade]
) -> None:
    """By the record beside the image."""
    record = image_dir / "sunshine_xfce4.sif.json"
    record.write_text(json.dumps({"sunshine_version": version}))
    found = look("sunshine")
    assert grades(found) == expected
    if expected[0] is RED:
        assert "CVE-2026-32253" in found[0].message


@pytest.mark.parametrize("text", [None, "", "[]", '{"other": 1}'])
def test_a_record_that_tells_nothing(
    look: Callable[..., list[Finding]], image_dir: Path, text: str | None
) -> None:
    """Yellow: nothing is known."""
    if text is not None:
        (image_dir / "sunshine_xfce4.sif.json").write_text(text)
    assert grades(look("sunshine")) == [YELLOW]


def test_releases_are_compared_by_number() -> None:
    """Not by text; every advisory names what a reader needs."""
    assert older("2025.9.1", "2025.10")
    assert not older("2026.516.143833+standin", "2026.516.143833")
    for advisory in advisories():
        assert {"id", "fixed", "severity", "summary"} == set(advisory)


def test_reserved_ports(make_settings: Callable[..., Settings]) -> None:
    """What the kernel may hand out and nobody reserved."""
    settings = make_settings()
    default = "32768\t60999\n"
    assert len(unreserved_ports(settings, reserved="\n", handed_out=default)) == 32
    assert unreserved_ports(settings, reserved="8080,47984-48031\n", handed_out=default) == []
    assert unreserved_ports(settings, reserved="\n", handed_out="50000 60000") == []
    assert unreserved_ports(settings, reserved="47984-48026", handed_out=default) == [48027]


class _Answer(http.server.BaseHTTPRequestHandler):
    body = b""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(
    ("body", "grade", "part"),
    [
        ({"service": "moonlight_backend", "status": "ok", "checks": {}}, GREEN, "is well"),
        (
            {"service": "moonlight_backend", "status": "degraded", "checks": {"redis": "gone"}},
            YELLOW,
            "redis: gone",
        ),
        ({"service": "vnc", "status": "ok"}, RED, "vnc answers"),
        ([], RED, "something else"),
    ],
)
def test_the_service(
    look: Callable[..., list[Finding]], body: object, grade: Grade, part: str
) -> None:
    """Ours and well, ours and not, or somebody else's."""
    handler = type("Handler", (_Answer,), {"body": json.dumps(body).encode()})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        (found,) = look("service", service={"port": server.server_port})
        server.shutdown()
    assert found.grade is grade
    assert part in found.message
    (found,) = look("service", service={"port": server.server_port})
    assert (found.grade, "does not answer" in found.message) == (YELLOW, True)


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        ({}, [GREEN]),
        ({"trusted_proxies": ["10.0.0.0/8"]}, [RED]),
        ({"trusted_proxies": ["10.1.2.3"]}, [YELLOW]),
        ({"trusted_proxies": []}, [YELLOW]),
        ({"host": "10.1.2.3"}, [GREEN, YELLOW]),
        ({"proxy_secret_file": "/nonexistent/secret"}, [RED]),
    ],
)
def test_the_proxy(
    look: Callable[..., list[Finding]], service: dict[str, object], expected: list[Grade]
) -> None:
    """Who may name users."""
    assert grades(look("proxy", service=service)) == expected


def test_tokens(look: Callable[..., list[Finding]], tmp_path: Path) -> None:
    """The key is there; a shared secret is ours alone."""
    key = tmp_path / "key"
    jwt = {"key_file": str(key), "audience": "moonlight", "issuer": "portal", "algorithm": "HS256"}
    service = {"identity": "jwt"}
    assert grades(look("proxy", service=service, jwt=jwt)) == [RED]
    key.write_text("x" * 40)
    key.chmod(0o644)
    assert grades(look("proxy", service=service, jwt=jwt)) == [RED]
    assert grades(look("proxy", service=service, jwt=jwt | {"algorithm": "RS256"})) == [GREEN]
    key.chmod(0o600)
    assert grades(look("proxy", service=service, jwt=jwt)) == [GREEN]


def test_the_line_to_vnc(
    look: Callable[..., list[Finding]], image_dir: Path, tmp_path: Path
) -> None:
    """Links count, too: the settings alone look innocent."""
    assert grades(look("neighbour")) == [GREEN]
    theirs = tmp_path / "vnc_desktop.sif"
    theirs.touch()
    sif = image_dir / "sunshine_xfce4.sif"
    sif.unlink()
    sif.symlink_to(theirs)
    (found,) = look("neighbour")
    assert found.grade is RED
    assert "vnc_desktop.sif" in found.message


def _told(**changes: str) -> dict[str, str]:
    fine = dict.fromkeys(
        ("sandboxes", "sessions", "home", "controller", "userns", "fuse", "image", "apptainer",
         "x_server", "dbus"),
        "ok",
    )  # fmt: skip
    return (
        fine
        | {
            "missing": "none",
            "reserved": "47984-48031",
            "handed_out": "32768 60999",
            "listening": "22,111",
        }
        | changes
    )


@pytest.mark.usefixtures("redis_client")
@pytest.mark.parametrize(
    ("told", "grade", "part"),
    [
        ({"missing": "apptainer flock"}, RED, "apptainer flock"),
        ({"sessions": "failed: Permission denied"}, RED, "Permission denied"),
        ({"home": "failed: no"}, YELLOW, "home is not there"),
        ({"userns": "failed: Operation not permitted"}, YELLOW, "rdinary users cannot"),
        ({"fuse": "failed: /dev/fuse is missing"}, YELLOW, "unpacked"),
        ({"x_server": "failed: cannot open"}, RED, "oes not start"),
        ({"reserved": ""}, YELLOW, "hands out 32"),
        ({"listening": "22,47989"}, YELLOW, "47989"),
    ],
)
def test_what_a_node_tells(
    make_settings: Callable[..., Settings],
    redis_url: str,
    told: dict[str, str],
    grade: Grade,
    part: str,
) -> None:
    """Each answer of the script that is not ok is one finding."""
    site = Site(settings=make_settings(redis={"url": redis_url}))
    bad = [found for found in _judged(site, "viz1", _told(**told)) if found.grade is not GREEN]
    assert grades(bad) == [grade]
    assert part in bad[0].message


def test_ports_of_our_own_sessions_are_no_foreign_ones(
    make_settings: Callable[..., Settings], redis_url: str, redis_client: Any
) -> None:
    """A leased base port and its clashes are looked over."""
    site = Site(settings=make_settings(redis={"url": redis_url}))
    assert _foreign(site, "viz1", "47984,47989").grade is YELLOW
    redis_client.hset("moonlight:node:viz1:leases", "ml-x", "10 47989")
    assert _foreign(site, "viz1", "47984,47989").grade is GREEN


def test_clock_skew() -> None:
    """Beyond what the run of the job explains."""
    assert _clock("viz1", 100.5, before=100, after=103).grade is GREEN
    assert _clock("viz1", 90, before=100, after=103).grade is YELLOW
    assert _clock("viz1", 113, before=100, after=103).grade is YELLOW


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("UNLIMITED", None),
        ("", None),
        ("30", 30),
        ("30:00", 30),
        ("08:00:00", 480),
        ("1-00:00:00", 1440),
        ("2-12", 3600),
    ],
)
def test_slurms_times(text: str, expected: int | None) -> None:
    """As slurm.conf(5) has them."""
    assert minutes(text) == expected


def test_without_slurm_every_check_of_it_is_red(
    look: Callable[..., list[Finding]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sentence and no traceback, on a machine that has no Slurm at all."""
    monkeypatch.setenv("PATH", str(tmp_path))
    for check in ("slurm-conf", "slurmctld", "submit", "partition", "gres", "reports", "nudges",
                  "epilog", "qos", "account", "kept-words"):  # fmt: skip
        found = look(check, slurm={"conf": str(tmp_path / "none.conf"), "account": "research"})
        assert grades(found) == [RED], check


def test_the_command(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, image_dir: Path, redis_url: str
) -> None:
    """Tables for people, JSON for programs, exit codes for cron; --strict counts yellow."""
    config = tmp_path / "moonlight.toml"
    config.write_text(f'[paths]\nimages = "{image_dir}"\n[redis]\nurl = "{redis_url}"\n')
    command = ["doctor", "--config", str(config), "--only"]
    assert cli.main([*command, "images"]) == cli.EXIT_OK
    assert capsys.readouterr().out.splitlines()[-1] == "1 green, 0 yellow, 0 red"
    assert cli.main([*command, "sunshine"]) == cli.EXIT_OK
    assert "mend: definitions/build" in capsys.readouterr().out
    assert cli.main([*command, "sunshine", "--strict"]) == cli.EXIT_REFUSED
    capsys.readouterr()
    (image_dir / "sunshine_xfce4.sif").unlink()
    assert cli.main([*command, "images", "--json"]) == cli.EXIT_REFUSED
    told = json.loads(capsys.readouterr().out)
    assert told["grade"] == "red"
    assert told["findings"][0]["check"] == "images"
    config.write_text("[slots]\nfirst_display = 1\n")
    assert cli.main([*command, "images", "--json"]) == cli.EXIT_CONFIG
    assert "belong to the VNC" in json.loads(capsys.readouterr().out)["findings"][0]["message"]
    assert cli.main([*command, "images"]) == cli.EXIT_CONFIG


def test_a_node_is_not_tried_in_somebodys_name_unasked(
    look: Callable[..., list[Finding]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root names a user."""
    monkeypatch.setattr("os.geteuid", lambda: 0)
    (found,) = look("node")
    assert found.grade is YELLOW
    assert "--user" in found.mend
    assert set(CHECKS) >= {"node", "redis", "ports"}
