"""Moonlight on Slurm: GPU desktops as Slurm jobs, streamed by Sunshine.

>>> from moonlight_core import SessionManager           # doctest: +SKIP
>>> manager = SessionManager.from_config()              # doctest: +SKIP
>>> session = manager.create(user="alice")              # doctest: +SKIP
>>> session = manager.wait(session.session_id)          # doctest: +SKIP
>>> session.connect.address                             # doctest: +SKIP
'viz1:47989'
"""

from moonlight_core.errors import (
    ImageNotFound,
    ImageUnavailable,
    InvalidRequest,
    MoonlightError,
    NotPermitted,
    QuotaExceeded,
    RequestError,
    SessionEnded,
    SessionNotFound,
    SettingsError,
    SlurmError,
    SlurmNotUsable,
    SlurmRefused,
    SlurmUnavailable,
    StoreError,
    StoreRefused,
    StoreUnavailable,
    SubmitOutcomeUnknown,
    SubmitRejected,
    UserNotAllowed,
    WaitTimeout,
)
from moonlight_core.images import Image
from moonlight_core.manager import SessionManager
from moonlight_core.models import Connect, Lease, Session, SessionRequest, Status
from moonlight_core.settings import Settings

__version__ = "0.1.0"

__all__ = [
    "Connect",
    "Image",
    "ImageNotFound",
    "ImageUnavailable",
    "InvalidRequest",
    "Lease",
    "MoonlightError",
    "NotPermitted",
    "QuotaExceeded",
    "RequestError",
    "Session",
    "SessionEnded",
    "SessionManager",
    "SessionNotFound",
    "SessionRequest",
    "Settings",
    "SettingsError",
    "SlurmError",
    "SlurmNotUsable",
    "SlurmRefused",
    "SlurmUnavailable",
    "Status",
    "StoreError",
    "StoreRefused",
    "StoreUnavailable",
    "SubmitOutcomeUnknown",
    "SubmitRejected",
    "UserNotAllowed",
    "WaitTimeout",
]
