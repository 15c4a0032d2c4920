"""The stand-in starts, listens, fails and stops as Sunshine does."""

import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from standin_support import (
    OFFSETS,
    PASSWORD,
    STANDIN,
    USER,
    Launcher,
    free_base_port,
    taken,
    udp_taken,
    wait_until,
    x_server,
)
from sunshine_standin.standin.state import make_certificate


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One key and certificate for all: making them takes longest."""
    folder = tmp_path_factory.mktemp("keys")
    make_certificate(folder / "key.pem", folder / "cert.pem", "test")
    return folder


@pytest.fixture
def launcher(tmp_path: Path, keys: Path) -> Iterator[Launcher]:
    """Start stand-ins in a folder of the test's own."""
    made = Launcher(tmp_path, keys)
    yield made
    made.stop_all()


def test_it_says_that_it_is_a_stand_in(tmp_path: Path) -> None:
    """Nobody should take it for Sunshine."""
    answer = subprocess.run(
        [sys.executable, STANDIN / "sunshine", "--version"],
        env={"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Sunshine version: 2026.516.143833+standin" in answer.stdout


def test_idle_it_holds_four_tcp_ports_and_no_udp(launcher: Launcher) -> None:
    """P-5, P, P+1 and P+21, and UDP only while somebody streams."""
    standin = launcher.start()
    assert all(taken(standin.port + offset) for offset in OFFSETS)
    assert not udp_taken(standin.port)
    info = standin.http("/serverinfo").text
    assert f"<HttpsPort>{standin.port - 5}</HttpsPort>" in info
    assert f"<ExternalPort>{standin.port}</ExternalPort>" in info
    assert "<state>SUNSHINE_SERVER_FREE</state>" in info
    assert "<currentgame>0</currentgame>" in info
    assert "<PairStatus>0</PairStatus>" in info


def test_the_log_goes_to_its_file_and_is_truncated_at_start(launcher: Launcher) -> None:
    """Standard output and `log_path` have the same lines, the file only those of this start."""
    log = launcher.folder / "sunshine.log"
    log.write_text("from an earlier life\n", encoding="utf-8")
    standin = launcher.start()
    wait_until(lambda: log.read_text(encoding="utf-8") == standin.output, "log equals output")
    assert standin.api("GET", "/api/logs").text.startswith(standin.output)


def test_sigterm_ends_it_cleanly(launcher: Launcher) -> None:
    """The exit code is 0 and every port is free again."""
    standin = launcher.start()
    standin.process.send_signal(signal.SIGTERM)
    assert standin.wait_exit() == 0
    standin.wait_for("Terminate handler called")
    assert not any(taken(standin.port + offset) for offset in OFFSETS)


@pytest.mark.parametrize("offset", OFFSETS)
def test_a_busy_tcp_port_is_fatal_and_exits_with_0(launcher: Launcher, offset: int) -> None:
    """The log says Fatal, the exit code says nothing."""
    port = free_base_port()
    with socket.create_server(("127.0.0.1", port + offset)):
        standin = launcher.start(port=port, options={"standin_busy_port": "exit"}, ready=False)
        assert standin.wait_exit() == 0
    standin.wait_for(": Fatal: Couldn't ")
    named = {-5: "http server on ports", 0: "http server on ports"}
    named |= {1: "Configuration HTTPS server on port", 21: "RTSP server to port"}
    assert named[offset] in standin.output


def test_or_it_hangs_half_alive_and_dies_of_sigtrap(launcher: Launcher) -> None:
    """Holding some ports and answering /serverinfo is no proof of health."""
    port = free_base_port()
    with socket.create_server(("127.0.0.1", port + 21)):
        options = {"standin_busy_port": "hang", "standin_hang_s": "0.1"}
        standin = launcher.start(port=port, options=options, ready=False)
        standin.wait_for("Couldn't bind RTSP server to port")
        assert "SUNSHINE_SERVER_FREE" in standin.http("/serverinfo").text
        assert standin.process.poll() is None
        standin.process.send_signal(signal.SIGTERM)
        assert standin.wait_exit() == -signal.SIGTRAP


def test_without_a_display_it_stays_and_says_so(launcher: Launcher) -> None:
    """It runs and answers, but can capture nothing."""
    standin = launcher.start()
    assert "Fatal: Unable to find display or encoder during startup." in standin.output
    assert "Found H.264 encoder" not in standin.output
    assert standin.http("/serverinfo").status == 200


def test_with_a_display_it_finds_the_software_encoder(launcher: Launcher) -> None:
    """A wanted encoder that is missing is replaced by the one that always works."""
    with x_server(launcher.folder) as display:
        standin = launcher.start(display=display, options={"encoder": "nvenc"})
    assert "Couldn't find any working encoder matching [nvenc]" in standin.output
    assert "Info: Found H.264 encoder: libx264 [software]" in standin.output
    assert "Fatal" not in standin.output


@pytest.mark.parametrize("trouble", ["cookie", "wayland", "encoder"])
def test_what_keeps_it_from_capturing(launcher: Launcher, trouble: str) -> None:
    """A wrong cookie, a Wayland session around it or no encoder are all the same Fatal."""
    cookie = bytes(16) if trouble == "cookie" else bytes(range(16))
    environment = {"WAYLAND_DISPLAY": "wayland-0"} if trouble == "wayland" else {}
    options = {"standin_encoder": "none"} if trouble == "encoder" else {}
    with x_server(launcher.folder, cookie) as display:
        standin = launcher.start(display=display, options=options, environment=environment)
    assert "Fatal: Unable to find display or encoder during startup." in standin.output


@pytest.mark.skipif(os.geteuid() == 0, reason="root can write everywhere")
def test_an_unwritable_configuration_folder_exits_with_0(launcher: Launcher) -> None:
    """It starts nothing and yet claims success."""
    locked = launcher.folder / "locked"
    locked.mkdir(mode=0o500)
    environment = {"XDG_CONFIG_HOME": str(locked)}
    standin = launcher.start(environment=environment, ready=False)
    assert standin.wait_exit() == 0


@pytest.mark.parametrize("argument", ["port=", "-z"])
def test_a_bad_configuration_exits_with_0(launcher: Launcher, argument: str) -> None:
    """Exit code 0 is never proof of anything."""
    standin = launcher.start(arguments=(argument,), ready=False)
    assert standin.wait_exit() == 0
    assert not taken(standin.port)


def test_a_folder_that_cannot_be_made_exits_with_0(launcher: Launcher) -> None:
    """As a log file below what is no folder."""
    standin = launcher.start(options={"log_path": "/dev/null/sunshine.log"}, ready=False)
    assert standin.wait_exit() == 0


def test_until_credentials_exist_anybody_may_set_them(launcher: Launcher) -> None:
    """The hole that makes writing the file first necessary."""
    standin = launcher.start(credentials=False)
    assert standin.api("GET", "/api/clients/list").status == 307
    new = {"newUsername": USER, "newPassword": PASSWORD, "confirmNewPassword": PASSWORD}
    assert standin.api("POST", "/api/password", new, auth=None).json == {"status": True}
    assert standin.api("GET", "/api/clients/list").status == 200
    assert standin.api("POST", "/api/password", new, auth=None).status == 401
    written = (launcher.folder / "credentials.json").read_text(encoding="utf-8")
    assert PASSWORD not in written


def test_it_makes_a_certificate_when_it_has_none(launcher: Launcher) -> None:
    """The key is readable for its owner alone."""
    pkey = launcher.folder / "made/key.pem"
    options = {"pkey": str(pkey), "cert": str(launcher.folder / "made/cert.pem")}
    standin = launcher.start(options=options)
    assert standin.api("GET", "/api/clients/list").status == 200
    assert stat.S_IMODE(pkey.stat().st_mode) == 0o600


def test_without_uinput_it_warns_that_there_is_no_input(launcher: Launcher) -> None:
    """2026.516 has no other way to move the mouse."""
    if Path("/dev/uinput").exists():
        pytest.skip("this machine has /dev/uinput")
    assert "Warning: Unable to create virtual mouse" in launcher.start().output
