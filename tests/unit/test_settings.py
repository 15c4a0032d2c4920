"""Settings: every fault at once, the environment over the file, the line to VNC."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import attrs
import pytest

from moonlight_core import Settings, SettingsError
from moonlight_core.service_settings import USERS_SOCKET
from moonlight_core.settings import GROUPS


def faults(document: dict[str, Any], environ: dict[str, str] | None = None) -> str:
    """The faults of a document, as one text."""
    with pytest.raises(SettingsError) as caught:
        Settings.from_mapping(document, environ or {})
    return "\n".join(caught.value.faults)


def test_defaults_are_valid() -> None:
    """An empty file is a working configuration with the default image."""
    settings = Settings.from_mapping({}, {})
    assert settings.service.port == 8004
    assert [image.id for image in settings.images.values()] == ["xfce4"]
    assert settings.images["xfce4"].name == "XFCE4 Desktop (Sunshine)"
    assert settings.images["xfce4"].default


def test_the_environment_wins() -> None:
    """A variable overrides the file, for every kind of value."""
    settings = Settings.from_mapping(
        {"service": {"port": 9000}},
        {
            "MOONLIGHT_SERVICE_PORT": "8100",
            "MOONLIGHT_SERVICE_ADMINISTRATORS": "root_of_all, carol",
            "MOONLIGHT_CONNECT_HOSTS": "viz1=10.0.0.1,viz2=10.0.0.2",
            "MOONLIGHT_REDIS_TIMEOUT_S": "0.5",
        },
    )
    assert settings.service.port == 8100
    assert settings.service.administrators == ("root_of_all", "carol")
    assert settings.connect.host_of("viz2") == "10.0.0.2"
    assert settings.connect.host_of("viz3") == "viz3"
    assert [settings.connect.own_host_of(node) for node in ("viz2", "viz3")] == ["10.0.0.2", "viz3"]
    assert settings.redis.timeout_s == 0.5


def test_every_fault_is_told_at_once() -> None:
    """Unknown groups, unknown names, wrong types and bad bounds in one error."""
    told = faults(
        {
            "servce": {},
            "service": {
                "prot": 1,
                "port": "8004",
                "trusted_proxies": ["proxy"],
                "user_header": "X Remote",
            },
            "slots": {"wait_s": 0},
            "connect": {"host": "viz.example.org"},
            "images": {"x!": {}, "gnome": {"gpus": -1, "rootfs": "floppy"}},
        },
        {"MOONLIGHT_REDIS_TIMEOUT": "1", "MOONLIGHT_SESSIONS_PER_USER": "many"},
    )
    for part in (
        "[servce] is no group",
        "[service] has no setting 'prot'",
        "[service] port is '8004': a whole number",
        "[service] trusted_proxies has 'proxy'",
        "[service] user_header is 'X Remote'",
        "[connect] host is 'viz.example.org'",
        "[slots] wait_s is 0",
        "[images.x!]",
        "[images.gnome] gpus is -1",
        "[images.gnome] rootfs is 'floppy'",
        "MOONLIGHT_REDIS_TIMEOUT in the environment names no setting",
        "MOONLIGHT_SESSIONS_PER_USER is 'many'",
    ):
        assert part in told


@pytest.mark.parametrize(
    ("document", "part"),
    [
        ({"slots": {"first_display": 9}}, "displays :1 to :9"),
        ({"slots": {"first_port": 5880, "last_port": 5890}}, "5900-5999"),
        ({"service": {"port": 5010}}, "5010"),
        ({"service": {"port": 5901}}, "5900-5999"),
        ({"paths": {"sandboxes": "/scratch/vnc_sandboxes"}}, "vnc_"),
        ({"paths": {"sessions": "/scratch/vnc_x/sunshine_sessions"}}, "vnc_"),
        ({"paths": {"logs": "/scratch/logs"}}, "sunshine_"),
        ({"images": {"xfce4": {"sif": "/opt/apptainers/vnc_desktop.sif"}}}, "vnc_"),
        ({"images": {"xfce4": {"sif": "/opt/apptainers/desktop.sif"}}}, "sunshine_*.sif"),
        ({"slurm": {"qos": ""}}, "QoS"),
    ],
)
def test_settings_that_cross_the_line_to_vnc_are_refused(
    document: dict[str, Any], part: str
) -> None:
    """Each crossing is named, with the reason."""
    assert part in faults(document)


def test_a_base_port_sunshine_would_not_take_is_refused() -> None:
    """Out of its range Sunshine silently uses another port."""
    assert "silently" in faults({"slots": {"first_port": 1000, "last_port": 1100}})


def test_control_characters_are_refused() -> None:
    """No value carries a line end into a script or a log."""
    assert "control character" in faults({"slurm": {"partition": "viz\nrm"}})


def test_load_tells_what_to_do_without_a_file(tmp_path: Path) -> None:
    """A missing file is a sentence, not a traceback."""
    with pytest.raises(SettingsError, match=r"does not exist\. Write it"):
        Settings.load(tmp_path / "none.toml", {})


def test_load_names_the_line_of_broken_toml(tmp_path: Path) -> None:
    """What the TOML parser says is passed on."""
    path = tmp_path / "moonlight.toml"
    path.write_text("[service\n")
    with pytest.raises(SettingsError, match=re.escape(str(path)) + ".*line 1"):
        Settings.load(path, {})


def test_load_finds_the_file_by_the_environment(tmp_path: Path) -> None:
    """MOONLIGHT_CONFIG names the file."""
    path = tmp_path / "moonlight.toml"
    path.write_text("[service]\nport = 8111\n")
    assert Settings.load(environ={"MOONLIGHT_CONFIG": str(path)}).service.port == 8111


def test_the_example_names_every_setting_with_its_default() -> None:
    """deploy/moonlight.toml.example, with its comments taken off, is the default configuration.

    But for the users' socket: it needs a directory that the installation makes.
    """
    example = Path(__file__).parents[2] / "deploy" / "moonlight.toml.example"
    assert tomllib.loads(example.read_text("utf-8")).get("service") == {
        "users_socket": str(USERS_SOCKET)
    }
    document = tomllib.loads(re.sub(r"(?m)^#(?=[\w\[])", "", example.read_text("utf-8")))
    document["service"]["users_socket"] = ""
    assert Settings.from_mapping(document, {}) == Settings.from_mapping({}, {})
    for name, group in GROUPS.items():
        assert set(document[name]) == {field.name for field in attrs.fields(group)}
