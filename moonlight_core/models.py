"""The values that travel: requests, leases, sessions. All immutable, all times aware and in UTC."""

from __future__ import annotations

import enum
import functools
import re
from typing import TYPE_CHECKING, Any

import attrs

from moonlight_core import progress
from moonlight_core.record_values import PARSERS, plain, spelled

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping, Sequence

    from moonlight_core.secret import Secret

SESSION_ID = re.compile(r"ml-[a-z_][a-z0-9_.-]{0,31}-[0-9a-hjkmnp-tv-z]{18}")


class Status(enum.StrEnum):
    """Where a session is in its life."""

    PENDING = "pending"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"

    @property
    def ended(self) -> bool:
        """Whether nothing will happen to the session any more."""
        return self in (Status.STOPPED, Status.FAILED)


@attrs.frozen(kw_only=True)
class SessionRequest:
    """What somebody asks for; what is None is taken from the image.

    Attributes:
        username: whose session it will be; the job runs as this account.
        image_id: id of an image in the catalogue; None for the default one.
        cpus: CPUs.
        memory_gb: memory in GiB.
        gpus: GPUs.
        hours: time limit in hours.
        width: width of the desktop in pixels.
        height: height of the desktop in pixels.
        fps: most frames a second.
        idle_minutes: minutes with nobody connected after which it ends; 0 for never.

    The rest are options, as in ``moonlight_core.options``.
    """

    username: str
    image_id: str | None = None
    cpus: int | None = None
    memory_gb: int | None = None
    gpus: int | None = None
    hours: int | None = None
    width: int | None = None
    height: int | None = None
    fps: int | None = None
    encoder: str | None = None
    hevc: str | None = None
    av1: str | None = None
    max_bitrate_kbps: int | None = None
    x_server: str | None = None
    keyboard: str | None = None
    locale: str | None = None
    time_zone: str | None = None
    audio: bool | None = None
    binds: Sequence[str] | None = None
    applications: Sequence[str] | None = None
    idle_minutes: int | None = None


REQUEST_FIELDS = tuple(f.name for f in attrs.fields(SessionRequest) if f.name != "username")
"""What a caller may ask for, by name."""


@attrs.frozen(kw_only=True)
class Lease:
    """The right to one X display and one Sunshine base port on one node.

    Attributes:
        node: Slurm's name of the node.
        display_num: X display number.
        sunshine_port: Sunshine's base port.
    """

    node: str
    display_num: int
    sunshine_port: int


@attrs.frozen(kw_only=True)
class Connect:
    """How a Moonlight client reaches a session.

    Attributes:
        host: host name or address.
        port: Sunshine's base port.
        address: ``host:port``, as Moonlight's "add host" takes it.
        command: a command line of Moonlight Qt that streams the desktop.
    """

    host: str
    port: int
    address: str
    command: str

    @classmethod
    def to(cls, host: str, port: int) -> Connect:
        """The ways to a Sunshine with base port ``port`` on ``host``."""
        shown = f"[{host}]" if ":" in host else host
        address = f"{shown}:{port}"
        return cls(
            host=host, port=port, address=address, command=f"moonlight stream {address} Desktop"
        )


@attrs.frozen(kw_only=True)
class Session:
    """One session as the record knows it.

    ``to_json`` is what the world sees. ``phase`` is a stable word for a machine, ``reason`` a
    sentence for a person, ``error`` the sentence of a failure; what is not known yet is None.
    ``restart_count`` is Slurm's, ``slots_refused`` counts leases whose display or port a foreign
    process held, ``lost_at`` is when slurmctld first did not know the job, ``ending_at`` when its
    end began, ``revision`` tells one state of the record from every other: five fields for
    reconcile alone. ``cert_sha256`` is the fingerprint of the certificate of its Sunshine, for
    ``moonlight_core.sunshine`` alone.
    ``idle_minutes`` is how long it may go on with nobody connected (0: as long as it likes),
    ``idle_ends_at`` when it will have, unless somebody connects. ``warned_at``, ``end_wanted`` and
    ``asked_at`` are for ``moonlight_core.idle`` alone, ``shots`` counts pictures of the desktop.

    ``encoder`` to ``applications`` are the options of ``moonlight_core.options``. What the desktop
    itself tells, in its owner's words: ``sunshine_version``, ``input`` (how keyboard and mouse
    reach it), ``clients_connected``, ``last_connected_at`` (when a client last came or went),
    ``stream_state`` (``busy`` while an application is open in Moonlight, else ``free``) and
    ``sunshine_restarts``. ``error_code`` is the stable word of a failure.
    """

    session_id: str
    username: str
    image_id: str
    image_name: str
    cpus: int
    memory_gb: int
    gpus: int
    hours: int
    width: int
    height: int
    fps: int
    encoder: str = "auto"
    hevc: str = "auto"
    av1: str = "auto"
    max_bitrate_kbps: int = 0
    x_server: str = "xvfb"
    keyboard: str = ""
    locale: str = "en_US.UTF-8"
    time_zone: str = ""
    audio: bool = True
    binds: tuple[str, ...] = ()
    applications: tuple[str, ...] = ()
    idle_minutes: int = 0
    identity: int = 1
    secret_id: int = 0
    status: Status = Status.PENDING
    phase: str = "submitting"
    reason: str | None = None
    error: str | None = None
    error_code: str | None = None
    slurm_state: str | None = None
    exit_code: int | None = None
    log_tail: str | None = None
    job_id: int | None = None
    slurm_node: str | None = None
    display_num: int | None = None
    sunshine_port: int | None = None
    cert_sha256: str | None = None
    sunshine_version: str | None = None
    input: str | None = None
    clients_connected: int | None = None
    last_connected_at: dt.datetime | None = None
    stream_state: str | None = None
    sunshine_restarts: int = 0
    restart_count: int = 0
    slots_refused: int = 0
    created_at: dt.datetime
    submitted_at: dt.datetime | None = None
    started_at: dt.datetime | None = None
    ready_at: dt.datetime | None = None
    stopped_at: dt.datetime | None = None
    expires_at: dt.datetime | None = None
    expected_start_at: dt.datetime | None = None
    idle_ends_at: dt.datetime | None = None
    warned_at: dt.datetime | None = None
    end_wanted: str | None = None
    asked_at: dt.datetime | None = None
    shots: int = 0
    lost_at: dt.datetime | None = None
    ending_at: dt.datetime | None = None
    revision: int = 0
    connect: Connect | None = None

    @property
    def lease(self) -> Lease | None:
        """The session's slot, or None while it has none."""
        if self.slurm_node is None or self.display_num is None or self.sunshine_port is None:
            return None
        return Lease(
            node=self.slurm_node,
            display_num=self.display_num,
            sunshine_port=self.sunshine_port,
        )

    @property
    def percent(self) -> int | None:
        """How much of the start is done, in percent; None when it ends or has ended."""
        return progress.percent(self.status, self.phase)

    def to_json(self) -> dict[str, Any]:
        """The session for a JSON answer; times in ISO 8601, UTC."""
        document = attrs.asdict(
            self,
            filter=lambda field, _value: field.name not in INTERNAL_FIELDS,
            value_serializer=lambda _instance, _field, value: plain(value),
        )
        return document | {"percent": self.percent}

    def to_record(self) -> dict[str, str]:
        """The session as fields of a Redis hash: what is None is absent."""
        values = ((name, getattr(self, name)) for name in _stored_fields())
        return {name: spelled(value) for name, value in values if value is not None}

    @classmethod
    def from_record(cls, record: dict[str, str]) -> Session:
        """Read what ``to_record`` made; fields of a newer version are ignored.

        Raises:
            ValueError: when a field is missing or is not what it should be.
        """
        try:
            return cls(**cls.parsed(record))
        except TypeError as exc:
            raise ValueError(f"The record lacks a field: {exc}") from exc

    @classmethod
    def parsed(cls, record: Mapping[str, str]) -> dict[str, Any]:
        """The values of those attributes that stand in a record, or in a part of one.

        Raises:
            ValueError: when one is not what it should be.
        """
        return {
            name: _PARSERS[annotation](record[name])
            for name, annotation in _stored_fields().items()
            if name in record
        }


class PairingStatus(enum.StrEnum):
    """How a pairing goes, or how it ended."""

    NONE = "none"
    WAITING = "waiting"
    PAIRED = "paired"
    WRONG_PIN = "wrong_pin"
    NO_CLIENT = "no_client"
    FAILED = "failed"


@attrs.frozen(kw_only=True)
class PairedClient:
    """A Moonlight client that a session's Sunshine lets in.

    Attributes:
        name: what it was called when it was paired.
        uuid: Sunshine's id of it.
        enabled: whether it may stream now.
    """

    name: str
    uuid: str
    enabled: bool = True


@attrs.frozen(kw_only=True)
class Pairing:
    """How the last pairing of a session goes or went.

    Attributes:
        status: its state; ``none`` when there was none lately.
        client: the new client, once it is paired.
        error: the sentence of a failure.
    """

    status: PairingStatus
    client: PairedClient | None = None
    error: str | None = None


@attrs.frozen(kw_only=True)
class Credentials:
    """How a session's owner enters the web interface of its Sunshine.

    Attributes:
        url: its address; the certificate is Sunshine's own.
        username: the user.
        password: the password.
    """

    url: str
    username: str
    password: Secret


INTERNAL_FIELDS = frozenset(
    {
        "cert_sha256",
        "identity",
        "secret_id",
        "restart_count",
        "slots_refused",
        "warned_at",
        "end_wanted",
        "asked_at",
        "shots",
        "lost_at",
        "ending_at",
        "revision",
    }
)


@functools.cache
def _stored_fields() -> Mapping[str, Any]:
    """The attributes of a session that stand in its record, with their annotations."""
    # How a client reaches a node is configuration, not state.
    return {field.name: field.type for field in attrs.fields(Session) if field.name != "connect"}


_PARSERS = PARSERS | {"Status": Status}
