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
    ImageNotFound,
    ImageUnavailable,
    InvalidRequest,
    MoonlightError,
    NoClientWaiting,
    NotPermitted,
    PairingInterrupted,
    PairingUnderWay,
    QuotaExceeded,
    RequestError,
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
from moonlight_core.settings import Settings

__version__ = "0.1.0"

__all__ = [
    "ClientNotFound",
    "Connect",
    "Credentials",
    "CredentialsHidden",
    "Image",
    "ImageNotFound",
    "ImageUnavailable",
    "InvalidRequest",
    "Lease",
    "MoonlightError",
    "NoClientWaiting",
    "NotPermitted",
    "PairedClient",
    "Pairing",
    "PairingAttempt",
    "PairingInterrupted",
    "PairingStatus",
    "PairingUnderWay",
    "PinOffer",
    "QuotaExceeded",
    "RequestError",
    "Session",
    "SessionEnded",
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
    "UserNotAllowed",
    "WaitTimeout",
    "WrongPin",
]
