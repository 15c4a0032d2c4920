"""Sessions for tests."""

from __future__ import annotations

import datetime as dt

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
