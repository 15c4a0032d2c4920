"""The stand-in reads its command line and configuration file as Sunshine does."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sunshine_standin.standin import config

Load = Callable[..., config.Config]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Load a configuration text, with arguments after the file's name."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))

    def _load(text: str, *arguments: str) -> config.Config:
        path = tmp_path / "sunshine.conf"
        path.write_text(text, encoding="utf-8")
        return config.load([str(path), *arguments])

    return _load


@pytest.mark.parametrize(
    ("given", "port"),
    [
        ("1029", 1029),
        ("65514", 65514),
        ("1028", 47989),
        ("65515", 47989),
        ("0", 47989),
        ("-1", 47989),
        ("many", 47989),
    ],
)
def test_a_port_out_of_range_falls_back_without_a_word(
    load: Load, capsys: pytest.CaptureFixture[str], given: str, port: int
) -> None:
    """Only 1029 to 65514 are taken; everything else silently means 47989."""
    assert load(f"port = {given}").port == port
    assert capsys.readouterr().out == ""


def test_unknown_keys_only_warn(load: Load, capsys: pytest.CaptureFixture[str]) -> None:
    """A key that Sunshine does not know, such as one that is gone, is named on standard output."""
    load("channels = 5\nport = 50000\nstandin_stop_s = 0")
    assert capsys.readouterr().out == "Warning: Unrecognized configurable option [channels]\n"


def test_the_command_line_wins_over_the_file(load: Load) -> None:
    """A `key=value` argument replaces the file's."""
    assert load("port = 50000\nencoder = nvenc", "port=50100").port == 50100


def test_the_file_format(load: Load) -> None:
    """Comments, blanks around the sign and lists over several lines are understood."""
    loaded = load(
        "# a comment\n"
        "  sunshine_name   =  my host   # another\n"
        "nonsense\n"
        "empty =\n"
        'global_prep_cmd = [ # begins here\n  {"do": "a b",\n   "undo": "c"}\n]\n'
        "port=50001\n"
    )
    assert loaded.sunshine_name == "my host"
    assert loaded.global_prep_cmd == [config.PrepCommand("a b", "c")]
    assert loaded.port == 50001


def test_a_relative_path_is_below_the_configuration_folder(load: Load, tmp_path: Path) -> None:
    """Relative paths are Sunshine's own folder's, and folders are made."""
    loaded = load("file_state = here/state.json")
    assert loaded.file_state == tmp_path / "config/sunshine/here/state.json"
    assert loaded.file_state.parent.is_dir()
    assert loaded.credentials_file == loaded.file_state


@pytest.mark.parametrize("argument", ["--help", "-x", "port="])
def test_an_unknown_argument_asks_for_help(load: Load, argument: str) -> None:
    """What is not understood prints the help."""
    with pytest.raises(config.UsageError):
        load("", argument)


def test_a_folder_that_cannot_be_made_is_an_error(load: Load, tmp_path: Path) -> None:
    """A path below a file cannot be."""
    (tmp_path / "file").touch()
    with pytest.raises(config.ConfigError):
        load(f"log_path = {tmp_path}/file/sunshine.log")
