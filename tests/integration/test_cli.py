"""The command line: tables for people, JSON for programs, sentences and exit codes for both."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import attrs
import pytest

from moonlight_core import SessionManager, cli

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from moonlight_core import Settings
    from moonlight_core.secret import Secret
    from moonlight_core.store import SessionStore
    from moonlight_core.testing import MemoryGateway
    from moonlight_core.users import User


@pytest.fixture(autouse=True)
def manager(
    make_settings: Callable[..., Settings],
    store: SessionStore,
    gateway: MemoryGateway,
    secret: Secret,
    resolve_user: Callable[..., User],
    monkeypatch: pytest.MonkeyPatch,
) -> SessionManager:
    """What the command line finds in place of a configuration."""
    made = SessionManager(
        make_settings(), store, gateway, service_secret=secret, resolve_user=resolve_user
    )
    monkeypatch.setattr(SessionManager, "from_config", lambda _path: made)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    return made


def test_a_session_comes_and_goes(capsys: pytest.CaptureFixture[str]) -> None:
    """Created, listed, shown, ended, by the id that --json tells."""
    assert cli.main(["list"]) == cli.EXIT_OK
    assert capsys.readouterr().out == "No sessions.\n"
    assert cli.main(["--json", "create", "--user", "alice", "--gpus", "0"]) == cli.EXIT_OK
    session = json.loads(capsys.readouterr().out)
    assert (session["username"], session["gpus"]) == ("alice", 0)
    assert cli.main(["list"]) == cli.EXIT_OK
    header, row = capsys.readouterr().out.splitlines()
    assert header.split()[:4] == ["session_id", "username", "image_id", "status"]
    assert row.split()[:4] == [session["session_id"], "alice", "xfce4", "pending"]
    assert cli.main(["show", session["session_id"]]) == cli.EXIT_OK
    assert "Waiting in the queue." in capsys.readouterr().out
    assert cli.main(["delete", session["session_id"]]) == cli.EXIT_OK
    assert "stopping" in capsys.readouterr().out
    assert cli.main(["--json", "reconcile"]) == cli.EXIT_OK
    assert json.loads(capsys.readouterr().out)["ended"] == 1


def test_waiting_shows_progress(
    capsys: pytest.CaptureFixture[str], gateway: MemoryGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each phase as it comes, and the address at the end."""
    submit = gateway.submit

    def submit_and_start(spec: object) -> int:
        job_id = submit(spec)
        gateway.start(job_id, "viz1")
        gateway.report(job_id, '{"phase":"ready","reason":"The desktop is ready."}')
        return job_id

    monkeypatch.setattr(gateway, "submit", submit_and_start)
    assert cli.main(["create", "--user", "alice", "--wait", "--timeout", "10"]) == cli.EXIT_OK
    told = capsys.readouterr()
    assert "running 100 %: The desktop is ready." in told.err
    assert "viz1:47989" in told.out


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        (["show", "ml-x"], cli.EXIT_REFUSED, "There is no session 'ml-x'"),
        (["delete", "ml-x"], cli.EXIT_REFUSED, "There is no session"),
        (["create", "--user", "mallory"], cli.EXIT_REFUSED, "no account mallory"),
        (["create", "--user", "alice", "--image", "none"], cli.EXIT_REFUSED, "no image 'none'"),
        (["create", "--user", "alice", "--cpus", "0"], cli.EXIT_USAGE, "cpus is 0"),
        (["create", "--user", "alice", "--keyboard", "x"], cli.EXIT_USAGE, "de or us(intl)"),
    ],
)
def test_a_refusal_is_a_sentence(
    capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, part: str
) -> None:
    """On standard error, with an exit code."""
    assert cli.main(arguments) == code
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("moonlight: ")
    assert part in told.err


def test_slurm_away_has_its_own_exit_code(
    capsys: pytest.CaptureFixture[str], gateway: MemoryGateway
) -> None:
    """A cron job can tell it from a refusal."""
    gateway.away = True
    assert cli.main(["create", "--user", "alice"]) == cli.EXIT_UNAVAILABLE
    assert "slurmctld" in capsys.readouterr().err


def test_faulty_settings_have_their_own_exit_code(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With where to look."""
    monkeypatch.undo()
    assert cli.main(["--config", str(tmp_path / "none.toml"), "list"]) == cli.EXIT_CONFIG
    assert "none.toml does not exist" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["dance"], ["create", "--cpus", "many"]])
def test_usage_errors(arguments: list[str]) -> None:
    """The exit code that shells know."""
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == cli.EXIT_USAGE


def test_ctrl_c_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """No traceback; the session goes on."""

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(SessionManager, "list", interrupted)
    assert cli.main(["list"]) == cli.EXIT_INTERRUPTED


def test_images(capsys: pytest.CaptureFixture[str]) -> None:
    """What can be asked for."""
    assert cli.main(["images"]) == cli.EXIT_OK
    assert "XFCE4 Desktop (Sunshine)" in capsys.readouterr().out


def test_what_root_does_with_others_is_written_down(
    manager: SessionManager,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """By whom, even behind sudo; of her own sessions nothing is."""
    path = tmp_path / "audit.jsonl"
    service = attrs.evolve(manager.settings.service, audit_log=path)
    manager.settings = attrs.evolve(manager.settings, service=service)
    session_id = manager.create("alice").session_id
    monkeypatch.setenv("SUDO_USER", "alice")
    assert cli.main(["show", session_id]) == cli.EXIT_OK
    assert not path.exists()
    monkeypatch.setenv("SUDO_USER", "carol")
    assert cli.main(["delete", session_id]) == cli.EXIT_OK
    entry = json.loads(path.read_text())
    assert (entry["who"], entry["what"], entry["whose"]) == ("carol", "moonlight delete", "alice")
    assert entry["session_id"] == session_id
    path.unlink()
    path.mkdir()
    assert cli.main(["clients", session_id]) != cli.EXIT_OK
    assert "audit_log cannot be written" in capsys.readouterr().err
