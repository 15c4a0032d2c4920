"""The configuration: one TOML file, overridden by the environment, every fault told at once.

``Settings.load()`` reads ``/etc/moonlight/moonlight.toml`` (or the file ``MOONLIGHT_CONFIG``
names). A value ``[group] name`` is overridden by the variable ``MOONLIGHT_<GROUP>_<NAME>``; lists
are then separated by commas and tables are ``key=value`` pairs separated by commas.

Units stand in the names: ``_s`` seconds, ``_gb`` gibibytes, ``_kbps`` kilobits per second.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import attrs

from moonlight_core.errors import SettingsError
from moonlight_core.images import Image, catalogue
from moonlight_core.limits import GroupLimits, group_limits
from moonlight_core.neighbour import faults_with_neighbour
from moonlight_core.service_settings import JwtSettings, ServiceSettings, option
from moonlight_core.settings_faults import settings_faults
from moonlight_core.values import convert

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_CONFIG = Path("/etc/moonlight/moonlight.toml")


@attrs.frozen(kw_only=True)
class RedisSettings:
    """``[redis]``: where the records are."""

    url: str = option(
        "redis://127.0.0.1:6379/0",
        "redis://, rediss://, unix:// or redis+sentinel://HOST:PORT,HOST:PORT/NAME/DATABASE",
    )
    username: str = option("", "ACL user; empty for the default user")
    password_file: Path | None = option(None, "file with the password, readable by us alone")
    sentinel_password_file: Path | None = option(None, "the sentinels' own password, if any")
    timeout_s: float = option(1.0, "seconds an answer may take")


@attrs.frozen(kw_only=True)
class SlurmSettings:
    """``[slurm]``: how sessions are submitted."""

    conf: Path = option(Path("/etc/slurm/slurm.conf"), "slurm.conf; SLURM_CONF overrides it")
    partition: str = option("viz", "partition of the viz nodes")
    qos: str = option("moonlight", "QoS of all sessions")
    account: str = option("", "account charged; empty for the user's default account")
    slot_gres: str = option("moonlight", "GRES that counts slots on a node; empty if there is none")
    gpu_gres: str = option("gpu", "GRES of a GPU, with its type if wanted: gpu or gpu:a40")
    report_field: str = option(
        "extra", "job field for the script's reports: extra, or comment under extra_constraints"
    )
    deadline_s: float = option(2.5, "seconds the service waits for an answer of slurmctld")
    job_path: str = option("/usr/local/bin:/usr/bin:/bin", "PATH of the batch script on a node")


@attrs.frozen(kw_only=True)
class SlotSettings:
    """``[slots]``: displays and GameStream ports on each node."""

    first_display: int = option(10, "lowest X display; :1 to :9 are the VNC service's")
    last_display: int = option(99, "highest X display")
    first_port: int = option(47989, "lowest base port of Sunshine")
    last_port: int = option(48010, "highest base port of Sunshine")
    block_s: int = option(600, "seconds a slot stays out of use after a foreign process sat on it")
    wait_s: int = option(120, "seconds a started job waits for its slot before it gives up")


@attrs.frozen(kw_only=True)
class SessionSettings:
    """``[sessions]``: limits, and how long things are kept."""

    per_user: int = option(4, "live sessions a user may have")
    total: int = option(0, "live sessions all users together may have; 0 for any number")
    creates_per_minute: int = option(60, "sessions a user may ask for in a minute; 0 for any")
    max_cpus: int = option(32, "most CPUs a request may ask for")
    max_memory_gb: int = option(128, "most memory a request may ask for, GiB")
    max_gpus: int = option(4, "most GPUs a request may ask for")
    max_hours: int = option(8, "longest time limit a request may ask for, hours")
    max_width: int = option(3840, "widest desktop, asked for or followed to, in pixels")
    max_height: int = option(2160, "highest desktop, asked for or followed to, in pixels")
    max_fps: int = option(240, "most frames a second a request may ask for")
    max_bitrate_kbps: int = option(0, "most kilobits a second of a stream; 0 for Sunshine's limit")
    end_notice_s: int = option(
        300, "seconds before the time limit at which the desktop shows that it ends; 0 for never"
    )
    idle_minutes: int = option(
        0, "minutes with nobody connected after which a desktop ends; 0 for never"
    )
    max_idle_minutes: int = option(
        0, "most of them that an image or a request may choose; 0 lets them choose never"
    )
    idle_warning_minutes: int = option(5, "minutes before such an end that the desktop says so")
    max_age_hours: int = option(
        0, "hours after which a desktop ends as soon as nobody is connected; 0 for never"
    )
    submit_grace_s: int = option(30, "seconds after which a record without a job has failed")
    start_timeout_s: int = option(180, "seconds from the job's start to a ready desktop")
    keep_ended_s: int = option(86400, "seconds the record of an ended session is kept")
    first_uid: int = option(1000, "accounts with a lower uid are system accounts and refused")


@attrs.frozen(kw_only=True)
class WatchSettings:
    """``[watch]``: how a desktop's Sunshine is watched while it runs."""

    interval_s: int = option(5, "seconds between two looks at Sunshine")
    timeout_s: int = option(10, "seconds an answer of Sunshine may take")
    misses: int = option(4, "answers missed in a row before Sunshine is started again")
    restarts: int = option(3, "how often Sunshine is started again in a row, without a quiet hour")


@attrs.frozen(kw_only=True)
class PathSettings:
    """``[paths]``: directories, the same on the head and on the nodes."""

    sandboxes: Path = option(Path("/scratch/sunshine_sandboxes"), "unpacked images, one a user")
    sessions: Path = option(Path("/scratch/sunshine_sessions"), "one private directory a session")
    logs: Path = option(Path("/scratch/sunshine_logs"), "one log a session")
    images: Path = option(Path("/opt/apptainers"), "image files")


@attrs.frozen(kw_only=True)
class ConnectSettings:
    """``[connect]``: how Moonlight clients reach a node."""

    host: str = option("{node}", "what clients call a node; {node} is Slurm's name for it")
    hosts: Mapping[str, str] = option(
        attrs.Factory(dict), "names of single nodes that do not follow the rule above"
    )

    def host_of(self, node: str) -> str:
        """The host name or address a client uses for Slurm node ``node``."""
        return self.hosts.get(node, self.host.replace("{node}", node))

    def own_host_of(self, node: str) -> str:
        """The host name or address by which the service itself reaches a node."""
        return self.hosts.get(node, node)


GROUPS: Mapping[str, type] = {
    "service": ServiceSettings,
    "jwt": JwtSettings,
    "redis": RedisSettings,
    "slurm": SlurmSettings,
    "slots": SlotSettings,
    "sessions": SessionSettings,
    "watch": WatchSettings,
    "paths": PathSettings,
    "connect": ConnectSettings,
}


@attrs.frozen(kw_only=True)
class Settings:
    """Everything configurable; immutable, complete and checked once it exists."""

    service: ServiceSettings = attrs.field(factory=ServiceSettings)
    jwt: JwtSettings = attrs.field(factory=JwtSettings)
    redis: RedisSettings = attrs.field(factory=RedisSettings)
    slurm: SlurmSettings = attrs.field(factory=SlurmSettings)
    slots: SlotSettings = attrs.field(factory=SlotSettings)
    sessions: SessionSettings = attrs.field(factory=SessionSettings)
    watch: WatchSettings = attrs.field(factory=WatchSettings)
    paths: PathSettings = attrs.field(factory=PathSettings)
    connect: ConnectSettings = attrs.field(factory=ConnectSettings)
    limits: Mapping[str, GroupLimits] = attrs.field(factory=dict)
    images: Mapping[str, Image] = attrs.field(
        factory=lambda: catalogue({}, Path("/opt/apptainers"))
    )

    @classmethod
    def load(cls, path: Path | None = None, environ: Mapping[str, str] | None = None) -> Self:
        """Read the file and the environment.

        Args:
            path: the TOML file; by default ``MOONLIGHT_CONFIG``, then ``DEFAULT_CONFIG``.
            environ: the environment; by default the process's own.

        Raises:
            SettingsError: with a sentence for every fault found.
        """
        environ = os.environ if environ is None else environ
        path = config_path(path, environ)
        try:
            document = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            hint = "Write it (deploy/moonlight.toml.example is a start) or set MOONLIGHT_CONFIG."
            raise SettingsError([f"{path} does not exist. {hint}"]) from None
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
            raise SettingsError([f"{path} cannot be read: {exc}"]) from exc
        return cls.from_mapping(document, environ)

    @classmethod
    def from_mapping(cls, document: Mapping[str, Any], environ: Mapping[str, str]) -> Self:
        """Make settings of a parsed TOML document and an environment.

        Raises:
            SettingsError: with a sentence for every fault found.
        """
        faults: list[str] = []
        groups: dict[str, Any] = {}
        faults += [
            f"[{name}] is no group of settings; there are {', '.join(GROUPS)}, limits and images."
            for name in document
            if name not in GROUPS and name not in ("images", "limits")
        ]
        for name, group in GROUPS.items():
            groups[name] = _read_group(name, group, document.get(name, {}), environ, faults)
        known = {
            f"MOONLIGHT_{name}_{field.name}".upper()
            for name, group in GROUPS.items()
            for field in attrs.fields(group)
        }
        faults += [
            f"{variable} in the environment names no setting."
            for variable in environ
            if variable.startswith(tuple(f"MOONLIGHT_{name}_".upper() for name in GROUPS))
            and variable not in known
        ]
        images: Mapping[str, Image] = {}
        limits: Mapping[str, GroupLimits] = {}
        try:
            images = catalogue(document.get("images", {}), groups["paths"].images)
        except SettingsError as exc:
            faults += exc.faults
        try:
            limits = group_limits(document.get("limits", {}))
        except SettingsError as exc:
            faults += exc.faults
        settings = cls(**groups, images=images, limits=limits)
        faults += settings_faults(settings) + faults_with_neighbour(settings)
        if faults:
            raise SettingsError(faults)
        return settings


def config_path(path: Path | None, environ: Mapping[str, str]) -> Path:
    """Which file is read when ``path`` is asked for, or none is."""
    return path or Path(environ.get("MOONLIGHT_CONFIG", DEFAULT_CONFIG))


def _read_group(
    name: str, group: type, table: Any, environ: Mapping[str, str], faults: list[str]
) -> Any:
    if not isinstance(table, dict):
        faults.append(f"[{name}] is a table of settings, not {table!r}.")
        table = {}
    fields = {field.name: field for field in attrs.fields(group)}
    faults += [
        f"[{name}] has no setting {key!r}; it has {', '.join(fields)}."
        for key in table
        if key not in fields
    ]
    values = {}
    for key, field in fields.items():
        variable = f"MOONLIGHT_{name}_{key}".upper()
        if variable in environ:
            raw, source = environ[variable], variable
        elif key in table:
            raw, source = table[key], f"[{name}] {key}"
        else:
            continue
        try:
            values[key] = convert(raw, field.type, from_text=variable in environ)
        except ValueError as exc:
            faults.append(f"{source} {exc}")
    return group(**values)
