"""Commands for whoever runs the site."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import attrs
import pytest

from moonlight_core import SessionManager, cli, keys
from moonlight_core.cli.parser import GROUPS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import redis

    from moonlight_core import Settings
    from moonlight_core.secret import Secret
    from moonlight_core.store import SessionStore
    from moonlight_core.testing import MemoryGateway
    from moonlight_core.users import User

COMMANDS = ("create", "list", "show", "delete", "pair", "clients", "images", "nodes", "reconcile")


@pytest.fixture
def manager(
    make_settings: Callable[..., Settings],
    store: SessionStore,
    gateway: MemoryGateway,
    secret: Secret,
    resolve_user: Callable[..., User],
    monkeypatch: pytest.MonkeyPatch,
) -> SessionManager:
    """What the command line finds in place of a configuration; carol administers."""
    made = SessionManager(
        make_settings(service={"administrators": ["carol"]}),
        store,
        gateway,
        service_secret=secret,
        resolve_user=resolve_user,
    )
    monkeypatch.setattr(SessionManager, "from_config", lambda _path: made)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    return made


def test_nodes_tell_used_free_and_blocked(
    manager: SessionManager,
    gateway: MemoryGateway,
    redis_client: redis.Redis,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One leased and one blocked of six; a drained node says so; a lost one still shows."""
    session = manager.create("alice")
    gateway.start(session.job_id or 0, "viz1")
    manager.reconcile()
    redis_client.zadd(keys.blocked("viz1"), {"port:47996": 4e9, "display:11": 4e9, "port:48006": 1})
    redis_client.hset(keys.leases("old1"), "ml-gone", "10 47989")
    redis_client.sadd(keys.NODES, "old1")
    gateway.viz_nodes["viz2"] = attrs.evolve(
        gateway.viz_nodes["viz2"], state="IDLE+DRAIN", reason="new fan"
    )
    assert cli.main(["nodes", "--json"]) == cli.EXIT_OK
    old1, viz1, viz2 = json.loads(capsys.readouterr().out)
    assert viz1 == {
        "node": "viz1",
        "state": "IDLE",
        "reason": "",
        "usable": True,
        "total": 6,
        "used": 1,
        "free": 4,
        "blocked": 1,
        "sessions": [session.session_id],
        "busy": ["display:11", "port:47996"],
    }
    assert (viz2["usable"], viz2["free"], viz2["reason"]) == (False, 6, "new fan")
    assert (old1["state"], old1["usable"], old1["used"]) == ("UNKNOWN", False, 1)
    assert cli.main(["nodes"]) == cli.EXIT_OK
    assert "new fan" in capsys.readouterr().out
    gateway.away = True
    assert cli.main(["nodes"]) == cli.EXIT_UNAVAILABLE


def test_nodes_without_gres_have_as_many_slots_as_ports(
    make_settings: Callable[..., Settings], manager: SessionManager, gateway: MemoryGateway
) -> None:
    """And with a smaller GRES no more than Slurm would place."""
    gateway.viz_nodes["viz1"] = attrs.evolve(gateway.viz_nodes["viz1"], gres={"moonlight": 2})
    gateway.viz_nodes["viz2"] = attrs.evolve(gateway.viz_nodes["viz2"], gres={})
    assert [node.total for node in manager.nodes()] == [2, 0]
    manager.settings = make_settings(slurm={"slot_gres": ""})
    assert [node.total for node in manager.nodes()] == [6, 6]


def test_config_tells_where_values_come_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Default, file or environment; passwords are masked; faults are told as everywhere."""
    file = tmp_path / "moonlight.toml"
    file.write_text(
        '[redis]\nurl = "redis://svc:hunter2@db:6379/0"\n[images.xfce4]\nname = "Desk"\n'
    )
    monkeypatch.setenv("MOONLIGHT_SESSIONS_PER_USER", "2")
    assert cli.main(["config", "--json", "--config", str(file)]) == cli.EXIT_OK
    out = capsys.readouterr().out
    assert "hunter2" not in out
    told = json.loads(out)
    settings = told["settings"]
    assert told["file"] == str(file)
    assert settings["[redis] url"]["value"] == "redis://svc:***@db:6379/0"
    assert settings["[redis] url"]["source"] == "file"
    assert settings["[sessions] per_user"]["value"] == 2
    assert settings["[sessions] per_user"]["source"] == "environment MOONLIGHT_SESSIONS_PER_USER"
    assert settings["[service] port"]["source"] == "default"
    assert settings["[images.xfce4] name"]["source"] == "file"
    assert settings["[service] port"]["help"]
    assert cli.main(["config", "--changed", "--config", str(file)]) == cli.EXIT_OK
    assert "[service] port" not in capsys.readouterr().out
    assert cli.main(["config", "--help-text", "--config", str(file)]) == cli.EXIT_OK
    assert "TCP port the service listens on" in capsys.readouterr().out
    file.write_text("[slots]\nfirst_display = 1\n")
    assert cli.main(["config", "--config", str(file)]) == cli.EXIT_CONFIG
    assert "belong to the VNC service" in capsys.readouterr().err


def _completion(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert cli.main(["completion", shell]) == cli.EXIT_OK
    return capsys.readouterr().out


def test_bash_completes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Commands by their first letters, options of a command: asked of a real bash."""
    script = tmp_path / "moonlight.bash"
    script.write_text(_completion("bash", capsys))
    ask = """
    source "$1"; shift
    COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
    function=$(complete -p moonlight | sed 's/.*-F \\([^ ]*\\).*/\\1/')
    "$function" moonlight "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
    printf '%s\\n' "${COMPREPLY[@]}"
    """

    def complete(*words: str) -> set[str]:
        done = subprocess.run(
            ["bash", "-c", ask, "bash", str(script), "moonlight", *words],
            check=True,
            capture_output=True,
            text=True,
            timeout=30,
        )
        return set(done.stdout.split())

    assert complete("cr") == {"create"}
    assert set(COMMANDS) <= complete("")
    assert "--image" in complete("create", "--")
    assert complete("completion", "") == {"bash", "zsh", "fish"}


# A zsh on a terminal of its own, in which somebody types a line and asks what there is.
_ASK_ZSH = r"""
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell "PS1=; fpath=($1 \$fpath); autoload -Uz compinit; compinit -u -D"
zpty -w shell "bindkey '^I' list-choices; LISTMAX=1000; print REA''DY"
while zpty -r shell line; do [[ $line == *READY* ]] && break; done
zpty -w -n shell "$2"$'\t'
for ((i = 0; i < 20; i++)); do
    while zpty -r -t shell line; do print -r -- "$line"; done
    sleep 0.1
done
"""


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_complete(
    shell: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The script names every command; where the shell is at hand, it is asked."""
    text = _completion(shell, capsys)
    assert all(command in text for command in COMMANDS)
    if shutil.which(shell) is None:
        return

    def complete(line: str) -> list[str]:
        if shell == "fish":
            (tmp_path / "script").write_text(text)
            command = ["fish", "-c", f"source {tmp_path}/script; complete -C '{line}'"]
        else:
            (tmp_path / "_moonlight").write_text(text)
            command = ["zsh", "-c", _ASK_ZSH, "zsh", str(tmp_path), line]
        done = subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=60,
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TERM": "dumb"},
        )  # fmt: skip
        return done.stdout.split()

    offered = complete("moonlight cr")
    assert {"create", "ask", "session"} <= set(offered)
    assert "list" not in offered
    assert set(COMMANDS) <= set(complete("moonlight "))
    assert "--image" in complete("moonlight create --im")
    assert {"bash", "zsh", "fish"} <= set(complete("moonlight completion "))


def test_every_command_has_a_page(capsys: pytest.CaptureFixture[str]) -> None:
    """With a description that ends in a full stop; --json may stand behind the command."""
    assert GROUPS
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    assert "exit codes:" in capsys.readouterr().out
    for command in (*COMMANDS, "config", "serve", "completion"):
        with pytest.raises(SystemExit) as caught:
            cli.main([command, "--help"])
        assert caught.value.code == cli.EXIT_OK
        page = capsys.readouterr().out
        assert page.startswith(f"usage: moonlight {command}")
        assert page.split("\n\n")[1].endswith(".")
        assert "--json" in page
