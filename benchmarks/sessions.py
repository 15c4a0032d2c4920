"""Sessions and jobs to measure with."""

from __future__ import annotations

import datetime as dt
import secrets
from typing import TYPE_CHECKING

import attrs

from moonlight_core import sunshine
from moonlight_core.job import job_spec
from moonlight_core.limits import UNLIMITED, Limits
from moonlight_core.models import Session, Status
from moonlight_core.secret import read_secret
from moonlight_core.session_id import new_session_id
from moonlight_core.shipped import batch_script
from moonlight_core.users import find_user

if TYPE_CHECKING:
    from moonlight_core.gateway import JobSpec
    from moonlight_core.settings import Settings

NO_LIMITS = Limits(**{field.name: UNLIMITED for field in attrs.fields(Limits)})


def running_session(user: str, number: int, **changes: object) -> Session:
    """A session as one looks that has been running for a while; ``number`` tells it from others."""
    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    values = {
        "session_id": new_session_id(user),
        "username": user,
        "image_id": "xfce4",
        "image_name": "XFCE4 Desktop (Sunshine)",
        "cpus": 4,
        "memory_gb": 8,
        "gpus": 1,
        "hours": 8,
        "width": 1920,
        "height": 1080,
        "fps": 60,
        "status": Status.RUNNING,
        "phase": "ready",
        "reason": "The desktop is ready.",
        "slurm_state": "RUNNING",
        "job_id": 1_000_000 + number,
        "slurm_node": f"viz{number // 6 + 1}",
        "display_num": 10 + number % 6,
        "sunshine_port": 47989,
        "cert_sha256": secrets.token_hex(32),
        "created_at": now,
        "submitted_at": now,
        "started_at": now,
        "ready_at": now,
        "expires_at": now + dt.timedelta(hours=8),
    }
    return Session(**values | changes)  # type: ignore[arg-type]


def spec(settings: Settings) -> JobSpec:
    """The job that the service would submit for a session of alice's, in the parked partition."""
    from benchmarks.bench import PARKED  # noqa: PLC0415 - bench imports us

    image = settings.images["bare"]
    session = running_session("alice", 0, image_id="bare")
    user = find_user("alice", first_uid=1000)
    secret = read_secret(settings.service.secret_file)
    made = job_spec(
        session,
        image,
        user,
        settings,
        script=batch_script(),
        credentials=sunshine.credentials_file(secret, session),
    )
    return attrs.evolve(made, partition=PARKED)
