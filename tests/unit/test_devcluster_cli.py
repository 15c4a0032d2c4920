"""The command line: what is ours, what is pytest's or the shell's, and how things end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from devcluster import cli
from devcluster.errors import StepError

if TYPE_CHECKING:
    import argparse
    from pathlib import Path


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[tuple[argparse.Namespace, list[str]]]:
    """What main() would have run."""
    calls: list[tuple[argparse.Namespace, list[str]]] = []

    def record(options: argparse.Namespace, rest: list[str]) -> int:
        calls.append((options, rest))
        return 7

    monkeypatch.setattr(cli, "_run", record)
    monkeypatch.setattr(cli.signal, "signal", lambda *_: None)
    return calls


def test_pytests_arguments_are_passed_on(
    called: list[tuple[argparse.Namespace, list[str]]],
) -> None:
    """In their order, and without being taken for abbreviations of ours."""
    assert cli.main(["test", "--no-lint", "tests/unit", "-k", "ports", "--no-header"]) == 7
    ((options, rest),) = called
    assert options.no_lint
    assert rest == ["tests/unit", "-k", "ports", "--no-header"]


def test_a_command_in_the_shell_keeps_its_own_options(
    called: list[tuple[argparse.Namespace, list[str]]],
) -> None:
    """What follows -- is not ours, even --help."""
    assert cli.main(["shell", "viz1", "--", "ss", "--help"]) == 7
    ((options, rest),) = called
    assert (options.machine, rest) == ("viz1", ["ss", "--help"])


def test_an_unknown_option_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """With the usual exit code, and before anything is done."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["up", "--sesion"])
    assert ended.value.code == 2
    assert "--sesion" in capsys.readouterr().err


def test_a_failing_step_shows_the_end_of_its_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """What happened, the last twenty lines, where the rest is, and what to do."""
    log = tmp_path / "step.log"
    log.write_text("".join(f"line {n}\n" for n in range(30)))

    def fail(_options: argparse.Namespace, _rest: list[str]) -> int:
        raise StepError("The step failed.", "Do this.", log)

    monkeypatch.setattr(cli, "_run", fail)
    monkeypatch.setattr(cli.signal, "signal", lambda *_: None)
    assert cli.main(["up"]) == cli.EXIT_FAILED
    shown = capsys.readouterr().err
    assert "The step failed." in shown
    assert str(log) in shown
    assert "line 10\n" in shown
    assert "line 9\n" not in shown
    assert "What to do: Do this." in shown


def test_an_interruption_ends_with_the_signals_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a shell reports it: 130 for Ctrl-C."""

    def interrupted(_options: argparse.Namespace, _rest: list[str]) -> int:
        raise cli.Interrupted(2)

    monkeypatch.setattr(cli, "_run", interrupted)
    monkeypatch.setattr(cli.signal, "signal", lambda *_: None)
    assert cli.main(["up"]) == 130
    assert "./dev up carries on" in capsys.readouterr().err
