"""``moonlight pair`` and ``moonlight clients``, with the stand-in behind."""

from __future__ import annotations

import json
import re
import threading
import time
from typing import TYPE_CHECKING

import pytest
from desktop import Attempt, ask

from moonlight_core import SessionManager, cli

if TYPE_CHECKING:
    from desktop import Desktop


@pytest.fixture(autouse=True)
def as_root(desktop: Desktop, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the command line finds in place of a configuration."""
    monkeypatch.setattr(SessionManager, "from_config", lambda _path: desktop.manager)
    monkeypatch.setattr("os.geteuid", lambda: 0)


def test_a_pin_of_the_client(desktop: Desktop, capsys: pytest.CaptureFixture[str]) -> None:
    """Paired, and in the list, for people and for programs."""
    assert cli.main(["clients", desktop.id]) == cli.EXIT_OK
    assert capsys.readouterr().out == "No clients.\n"
    attempt = ask(desktop.client(), "0214")
    assert cli.main(["pair", desktop.id, "--pin", "0214", "--name", "laptop"]) == cli.EXIT_OK
    assert attempt.wait() is None
    assert capsys.readouterr().out == "laptop is paired.\n"
    assert cli.main(["clients", desktop.id]) == cli.EXIT_OK
    assert "laptop" in capsys.readouterr().out
    assert cli.main(["--json", "clients", desktop.id]) == cli.EXIT_OK
    (client,) = json.loads(capsys.readouterr().out)
    assert (client["name"], client["enabled"]) == ("laptop", True)


def test_a_drawn_pin(desktop: Desktop, capsys: pytest.CaptureFixture[str]) -> None:
    """Shown on standard error, so that the answer stays JSON."""
    attempts: list[Attempt] = []
    seen: list[str] = []

    def follow() -> None:
        while not (found := re.search(r"moonlight pair (\S+) --pin (\d{4})", "".join(seen))):
            seen.append(capsys.readouterr().err)
            time.sleep(0.02)
        attempts.append(ask(desktop.client(), found[2]))

    follower = threading.Thread(target=follow, daemon=True)
    follower.start()
    assert cli.main(["--json", "pair", desktop.id]) == cli.EXIT_OK
    assert attempts[0].wait() is None
    paired = json.loads(capsys.readouterr().out)
    assert (paired["status"], paired["client"]["name"]) == ("paired", "Moonlight client")


def test_what_goes_wrong_is_a_sentence(
    desktop: Desktop, capsys: pytest.CaptureFixture[str]
) -> None:
    """With an exit code for each kind."""
    assert cli.main(["pair", desktop.id, "--pin", "12"]) == cli.EXIT_USAGE
    assert "four digits" in capsys.readouterr().err
    desktop.standin.process.kill()
    desktop.standin.wait_exit()
    assert cli.main(["clients", desktop.id]) == cli.EXIT_UNAVAILABLE
    assert "does not answer" in capsys.readouterr().err
