"""Sessions for tests."""

from __future__ import annotations

import datetime as dt

from moonlight_core.limits import Limits
from moonlight_core.models import Session
from moonlight_core.session_id import new_session_id


def session(**changes: object) -> Session:
    """A session of alice's with these attributes."""
    values = {
        "session_id": new_session_id("alice"), "username": "alice", "image_id": "xfce4",
        "image_name": "XFCE4", "cpus": 4, "memory_gb": 8, "gpus": 1, "hours": 8, "width": 1920,
        "height": 1080, "fps": 60,
        "created_at": dt.datetime(2026, 5, 1, 12, 0, 0, 123000, tzinfo=dt.UTC),
    }  # fmt: skip
    return Session(**values | changes)


def at_most(per_user: int) -> Limits:
    """Limits that allow a user so many live sessions, and anything else."""
    return Limits(
        per_user=per_user,
        max_cpus=64,
        max_memory_gb=512,
        max_gpus=8,
        max_hours=24,
        max_width=3840,
        max_height=2160,
        max_fps=120,
        max_bitrate_kbps=0,
    )
