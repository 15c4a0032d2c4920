"""Command line and configuration file, read by the rules of Sunshine 2026.516.

The rules are those of its `src/config.cpp`: a file of `key = value` lines, `#` begins a comment, a
value that begins with `[` may go on over several lines, arguments of the form `key=value` win over
the file, an argument without `=` is the file's name. What is not understood is left at its default
without a word, apart from unknown keys, which are named on standard output.
"""

import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

from .journal import LEVELS

DEFAULT_PORT = 47989
PORT_RANGE = range(1029, 65515)

KNOWN_KEYS = frozenset(
    [
        "adapter_name",
        "address_family",
        "always_send_scancodes",
        "amd_coder",
        "amd_enforce_hrd",
        "amd_preanalysis",
        "amd_quality",
        "amd_rc",
        "amd_usage",
        "amd_vbaq",
        "audio_sink",
        "av1_mode",
        "back_button_timeout",
        "bind_address",
        "capture",
        "cert",
        "controller",
        "credentials_file",
        "csrf_allowed_origins",
        "dd_config_revert_delay",
        "dd_config_revert_on_disconnect",
        "dd_configuration_option",
        "dd_hdr_option",
        "dd_manual_refresh_rate",
        "dd_manual_resolution",
        "dd_mode_remapping",
        "dd_refresh_rate_option",
        "dd_resolution_option",
        "dd_wa_hdr_toggle_delay",
        "ds4_back_as_touchpad_click",
        "ds5_inputtino_randomize_mac",
        "encoder",
        "external_ip",
        "fec_percentage",
        "file_apps",
        "file_state",
        "flags",
        "gamepad",
        "global_prep_cmd",
        "hevc_mode",
        "high_resolution_scrolling",
        "install_steam_audio_drivers",
        "key_repeat_delay",
        "key_repeat_frequency",
        "key_rightalt_to_key_win",
        "keybindings",
        "keyboard",
        "lan_encryption_mode",
        "locale",
        "log_path",
        "max_bitrate",
        "min_log_level",
        "min_threads",
        "minimum_fps_target",
        "motion_as_ds4",
        "mouse",
        "native_pen_touch",
        "notify_pre_releases",
        "nvenc_h264_cavlc",
        "nvenc_intra_refresh",
        "nvenc_latency_over_power",
        "nvenc_opengl_vulkan_on_dxgi",
        "nvenc_preset",
        "nvenc_realtime_hags",
        "nvenc_spatial_aq",
        "nvenc_split_encode",
        "nvenc_twopass",
        "nvenc_vbv_increase",
        "origin_web_ui_allowed",
        "output_name",
        "ping_timeout",
        "pkey",
        "port",
        "qp",
        "qsv_coder",
        "qsv_preset",
        "qsv_slow_hevc",
        "stream_audio",
        "sunshine_name",
        "sw_preset",
        "sw_tune",
        "system_tray",
        "touchpad_as_ds4",
        "upnp",
        "vaapi_strict_rc_buffer",
        "virtual_sink",
        "vk_rc_mode",
        "vk_tune",
        "vt_coder",
        "vt_realtime",
        "vt_software",
        "wan_encryption_mode",
    ]
)

OWN_PREFIX = "standin_"
"""Keys of ours, with which a test chooses what real Sunshine leaves to chance."""


class UsageError(Exception):
    """Raised when the command line is not understood: Sunshine prints its help and exits 0."""


class ConfigError(Exception):
    """Raised when a path of the configuration cannot be made: Sunshine says so and exits 0."""


@dataclass
class PrepCommand:
    """A command before an application starts, and the one that undoes it after its end."""

    do: str = ""
    undo: str = ""


@dataclass
class Config:
    """What the stand-in heeds of a configuration. Paths are absolute, their folders exist."""

    config_file: Path
    file_apps: Path
    file_state: Path
    credentials_file: Path
    log_path: Path
    pkey: Path
    cert: Path
    sunshine_name: str
    port: int = DEFAULT_PORT
    address: str = "0.0.0.0"  # noqa: S104 - Sunshine's default, and the reason for bind_address
    capture: str = ""
    encoder: str = ""
    hevc_mode: int = 0
    av1_mode: int = 0
    origin_web_ui_allowed: str = "lan"
    csrf_allowed_origins: list[str] = field(default_factory=list)
    global_prep_cmd: list[PrepCommand] = field(default_factory=list)
    mouse: bool = True
    keyboard: bool = True
    stream_audio: bool = True
    min_log_level: int = 2
    command: str | None = None
    command_arguments: list[str] = field(default_factory=list)
    own: dict[str, str] = field(default_factory=dict)
    given: dict[str, str] = field(default_factory=dict)


def _option(text: str, position: int) -> tuple[int, tuple[str, str] | None]:
    """Read one option at `position`; return where it ends and what it says, if anything."""
    while position < len(text) and text[position] in " \t\r\n":
        position += 1
    end = position
    while end < len(text) and text[end] not in "\r\n":
        end += 1
    line = text[position:end].split("#", 1)[0].rstrip()
    name, equals, value = line.partition("=")
    name, value = name.rstrip(" \t"), value.lstrip(" \t")
    if not equals or not name or not value:
        return end, None
    if value.startswith("["):
        start = position + line.index("[", line.index("="))
        depth, end = 1, start + 1
        while end < len(text) and depth:
            depth += {"[": 1, "]": -1}.get(text[end], 0)
            end += 1
        lines = text[start:end].splitlines()
        value = "".join(part.split("#", 1)[0] for part in lines)
    return end, (name, value)


def parse_file(text: str) -> dict[str, str]:
    """Return the options of a configuration file; of a key given twice the first counts."""
    found: dict[str, str] = {}
    position = 0
    while position < len(text):
        position, option = _option(text, position)
        position += 1
        if option is not None:
            found.setdefault(*option)
    return found


def _integer(text: str, default: int) -> int:
    digits = text.strip('"')
    try:
        return int(digits, 16) if digits.startswith("0x") else int(digits)
    except ValueError:
        return default


def _boolean(text: str) -> bool:
    return text.lower() in {"true", "yes", "enable", "enabled", "on"} or "1" in text


def _prep_commands(text: str) -> list[PrepCommand]:
    """Read `global_prep_cmd`, a JSON list of objects with `do` and `undo`; bad JSON is no list."""
    try:
        entries = json.loads(text)
    except ValueError:
        return []
    if not isinstance(entries, list):
        return []
    return [
        PrepCommand(do=str(entry.get("do", "")), undo=str(entry.get("undo", "")))
        for entry in entries
        if isinstance(entry, dict)
    ]


def appdata() -> Path:
    """Return Sunshine's folder: below XDG_CONFIG_HOME, or below ~/.config."""
    given = os.environ.get("XDG_CONFIG_HOME")
    base = Path(given) if given else Path(os.environ.get("HOME", "/"), ".config")
    return base / "sunshine"


def load(arguments: list[str]) -> Config:
    """Read the command line and the file it names.

    Raises:
        UsageError: for `--help`, an unknown flag or an argument like `key=`.
        ConfigError: when a folder or the configuration file cannot be made or read.
    """
    folder = appdata()
    config_file = folder / "sunshine.conf"
    given: dict[str, str] = {}
    command: str | None = None
    rest: list[str] = []
    for index, argument in enumerate(arguments):
        if argument == "--help":
            raise UsageError
        if argument.startswith("--"):
            command, rest = argument[2:], arguments[index + 1 :]
            break
        if argument.startswith("-"):
            if set(argument[1:]) - set("012p"):
                raise UsageError
        elif "=" in argument:
            _, option = _option(argument, 0)
            if option is None:
                raise UsageError
            given[option[0]] = option[1]
        else:
            config_file = Path(argument)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not config_file.exists():
            config_file.touch()
        options = parse_file(config_file.read_text(encoding="utf-8", errors="replace"))
    except OSError as error:
        raise ConfigError(str(error)) from error
    options.update(given)
    config = _apply(options, folder, config_file)
    config.command, config.command_arguments = command, rest
    return config


def _apply(options: dict[str, str], folder: Path, config_file: Path) -> Config:
    def path(key: str, default: str) -> Path:
        chosen = folder / options.get(key, default)
        try:
            chosen.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(str(error)) from error
        return chosen

    state = path("file_state", "sunshine_state.json")
    config = Config(
        config_file=config_file,
        pkey=path("pkey", "credentials/cakey.pem"),
        cert=path("cert", "credentials/cacert.pem"),
        log_path=path("log_path", "sunshine.log"),
        file_state=state,
        # Without a file of their own the credentials live in the state file.
        credentials_file=path("credentials_file", str(state)),
        file_apps=path("file_apps", "apps.json"),
        sunshine_name=options.get("sunshine_name", os.uname().nodename),
    )
    port = _integer(options.get("port", ""), DEFAULT_PORT)
    config.port = port if port in PORT_RANGE else DEFAULT_PORT
    if options.get("address_family") == "both":
        config.address = "::"
    config.address = options.get("bind_address", config.address)
    config.capture = options.get("capture", "")
    config.encoder = options.get("encoder", "")
    config.hevc_mode = _integer(options.get("hevc_mode", ""), 0)
    config.av1_mode = _integer(options.get("av1_mode", ""), 0)
    if options.get("origin_web_ui_allowed") in {"pc", "lan", "wan"}:
        config.origin_web_ui_allowed = options["origin_web_ui_allowed"]
    origins = [o.strip() for o in options.get("csrf_allowed_origins", "").split(",")]
    config.csrf_allowed_origins = [o for o in origins if o.startswith("https://")]
    config.global_prep_cmd = _prep_commands(options.get("global_prep_cmd", "[]"))
    config.mouse = _boolean(options.get("mouse", "enabled"))
    config.keyboard = _boolean(options.get("keyboard", "enabled"))
    config.stream_audio = _boolean(options.get("stream_audio", "enabled"))
    level = options.get("min_log_level", "info")
    config.min_log_level = LEVELS.index(level) if level in LEVELS else _integer(level, 2)
    config.own = {
        key.removeprefix(OWN_PREFIX): value
        for key, value in options.items()
        if key.startswith(OWN_PREFIX)
    }
    config.given = options
    _warn_of_unknown(options, config.min_log_level)
    return config


def _warn_of_unknown(options: dict[str, str], min_log_level: int) -> None:
    if min_log_level > LEVELS.index("warning"):
        return
    for key in options:
        if key not in KNOWN_KEYS and not key.startswith(OWN_PREFIX):
            sys.stdout.write(f"Warning: Unrecognized configurable option [{key}]\n")
            sys.stdout.flush()
