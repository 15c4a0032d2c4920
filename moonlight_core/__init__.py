"""Moonlight on Slurm: GPU desktops as Slurm jobs, streamed by Sunshine.

>>> from moonlight_core import SessionManager           # doctest: +SKIP
>>> manager = SessionManager.from_config()              # doctest: +SKIP
>>> session = manager.create(user="alice")              # doctest: +SKIP
>>> session = manager.wait(session.session_id)          # doctest: +SKIP
>>> session.connect.address                             # doctest: +SKIP
'viz1:47989'
"""

from moonlight_core.errors import (
    ClientNotFound,
    CredentialsHidden,
    FileUnreadable,
    ImageNotFound,
    ImageUnavailable,
    InvalidRequest,
    LogNotFound,
    MoonlightError,
    NoClientWaiting,
    NotPermitted,
    PairingInterrupted,
    PairingUnderWay,
    QuotaExceeded,
    RequestError,
    ScreenshotFailed,
    ScreenshotsOff,
    ScreenshotUnavailable,
    ServiceUnavailable,
    SessionEnded,
    SessionNotFound,
    SessionNotRunning,
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
    SunshineAnswerUnusable,
    SunshineError,
    SunshineUnreachable,
    TooManyPins,
    TooManyScreenshots,
    UserNotAllowed,
    WaitTimeout,
    WrongPin,
)
from moonlight_core.images import Image
from moonlight_core.manager import SessionManager
from moonlight_core.models import (
    Connect,
    Credentials,
    Lease,
    PairedClient,
    Pairing,
    PairingStatus,
    Session,
    SessionRequest,
    Status,
)
from moonlight_core.pairing import PairingAttempt, PinOffer
from moonlight_core.pictures import Picture
from moonlight_core.session_log import SessionLog
from moonlight_core.settings import Settings

__version__ = "0.1.0"

__all__ = [
    "ClientNotFound",
    "Connect",
    "Credentials",
    "CredentialsHidden",
    "FileUnreadable",
    "Image",
    "ImageNotFound",
    "ImageUnavailable",
    "InvalidRequest",
    "Lease",
    "LogNotFound",
    "MoonlightError",
    "NoClientWaiting",
    "NotPermitted",
    "PairedClient",
    "Pairing",
    "PairingAttempt",
    "PairingInterrupted",
    "PairingStatus",
    "PairingUnderWay",
    "Picture",
    "PinOffer",
    "QuotaExceeded",
    "RequestError",
    "ScreenshotFailed",
    "ScreenshotUnavailable",
    "ScreenshotsOff",
    "ServiceUnavailable",
    "Session",
    "SessionEnded",
    "SessionLog",
    "SessionManager",
    "SessionNotFound",
    "SessionNotRunning",
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
    "SunshineAnswerUnusable",
    "SunshineError",
    "SunshineUnreachable",
    "TooManyPins",
    "TooManyScreenshots",
    "UserNotAllowed",
    "WaitTimeout",
    "WrongPin",
]
