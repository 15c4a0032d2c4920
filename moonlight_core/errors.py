"""Everything that can go wrong, as one tree.

Nothing here knows about HTTP; ``moonlight_http`` maps these classes to status codes.

    MoonlightError
    ├── SettingsError            the configuration is wrong; carries every fault found
    ├── RequestError             what the caller asked for cannot be
    │   ├── InvalidRequest       a value is of the wrong kind or outside its limits
    │   ├── ImageNotFound        no such image in the catalogue
    │   ├── ImageUnavailable     in the catalogue, but its file is not there
    │   ├── UserNotAllowed       the account may not have sessions
    │   ├── SessionNotFound      no such session, or not the caller's
    │   ├── SessionNotRunning    the session has no Sunshine to speak to yet, or any more
    │   ├── QuotaExceeded        too many live sessions
    │   ├── NoClientWaiting      no Moonlight client asked to be paired in time
    │   ├── WrongPin             a client was waiting, and had another PIN
    │   ├── PairingUnderWay      the session is being paired already
    │   ├── TooManyPins          too many PINs were tried in a short time
    │   ├── ClientNotFound       no such paired client
    │   ├── CredentialsHidden    the site does not show Sunshine's password
    │   ├── ScreenshotsOff       the site makes no pictures of desktops
    │   ├── ScreenshotUnavailable  this session cannot make one
    │   ├── TooManyScreenshots   another one was wanted a moment ago
    │   └── LogNotFound          the session's log is not there
    ├── ScreenshotFailed         a desktop made no picture, or nothing that could be shown
    ├── FileUnreadable           a session's file may not be read, or is not what it should be
    ├── ServiceUnavailable       the service could not be asked, by a program that goes through it
    ├── WaitTimeout              a session did not get where it was waited for
    ├── SessionEnded             a session ended while it was waited for
    ├── PairingInterrupted       the program stopped while a pairing was under way
    ├── SunshineError            what a session's Sunshine said, or did not say
    │   ├── SunshineUnreachable  it does not answer, or not in time
    │   └── SunshineAnswerUnusable  what answered is not it, or makes no sense
    ├── SlurmError               what Slurm said, or did not say
    │   ├── SlurmNotUsable       pyslurm or slurm.conf is missing or does not fit
    │   ├── SlurmUnavailable     slurmctld cannot be reached now; nothing was done
    │   ├── SubmitRejected       slurmctld refused the job
    │   │   └── NotPermitted     … because the user may not use the account, partition or QoS
    │   ├── SubmitOutcomeUnknown the job may or may not exist
    │   └── SlurmRefused         slurmctld refused another request
    └── StoreError               what Redis said, or did not say
        ├── StoreUnavailable     Redis cannot be reached now
        └── StoreRefused         Redis answered with an error
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class MoonlightError(Exception):
    """The root: catch it to catch everything this library raises on purpose."""


class SettingsError(MoonlightError):
    """Raised when the configuration has faults; ``faults`` holds a sentence for each."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("The configuration cannot be used:\n  - " + "\n  - ".join(self.faults))


class RequestError(MoonlightError):
    """Raised when what the caller asked for cannot be, however healthy everything is."""


class InvalidRequest(RequestError):
    """Raised when a value is of the wrong kind or outside its limits.

    ``field`` names the value as the caller wrote it; ``limit`` is the most that may be asked for,
    and ``allowed`` are the only values, where that is why.
    """

    def __init__(
        self, field: str, message: str, *, limit: int | None = None, allowed: Sequence[str] = ()
    ) -> None:
        self.field = field
        self.limit = limit
        self.allowed = tuple(allowed)
        super().__init__(message)


class ImageNotFound(RequestError):
    """Raised when the catalogue has no image of that id."""


class ImageUnavailable(RequestError):
    """Raised when the image's file is missing or cannot be read."""


class UserNotAllowed(RequestError):
    """Raised when an account is unknown, a system account, or may not use the service."""


class SessionNotFound(RequestError):
    """Raised when there is no such session, or it is somebody else's: both look the same."""

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id
        super().__init__(
            f"There is no session {session_id[:64]!r}. List your sessions to see which there are; "
            "ended ones are forgotten after a while."
        )


class SessionNotRunning(RequestError):
    """Raised when something needs the session's Sunshine, and the session is not running."""

    def __init__(self, session_id: str, status: str) -> None:
        self.session_id = session_id
        self.status = status
        super().__init__(
            f"The session {session_id} is {status}. Its desktop can be reached only while it is "
            "running: wait for that, or ask for another session."
        )


class QuotaExceeded(RequestError):
    """Raised when there are as many sessions as there may be.

    ``quota`` says which limit it was: ``user`` (live sessions of the user), ``total`` (of all
    users) or ``per_minute`` (asked for by the user); ``retry_after_s`` tells when it will be over,
    if that is known.
    """

    def __init__(
        self,
        username: str,
        limit: int,
        current: int,
        *,
        quota: str = "user",
        retry_after_s: int | None = None,
    ) -> None:
        self.username = username
        self.limit = limit
        self.current = current
        self.quota = quota
        self.retry_after_s = retry_after_s
        super().__init__(
            {
                "user": f"{username} has {current} live sessions and may have {limit}. "
                "End one of them before asking for another.",
                "total": f"There are {current} live sessions and there may be {limit}. Try again "
                "when somebody's has ended.",
                "per_minute": f"{username} asked for {current} sessions within a minute and may "
                f"ask for {limit}. Try again in {retry_after_s} s.",
            }[quota]
        )


class NoClientWaiting(RequestError):
    """Raised when no Moonlight client asked to be paired in time; ``address`` is what to add."""

    def __init__(self, address: str, waited_s: float) -> None:
        self.address = address
        super().__init__(
            f"No Moonlight client asked to be paired within {waited_s:g} s. In Moonlight, add the "
            f"host {address} and open it: it shows a PIN. Send that PIN while it is shown. A "
            "client that is paired already asks for nothing."
        )


class WrongPin(RequestError):
    """Raised when a client was waiting and was not paired: its PIN is another one."""

    def __init__(self) -> None:
        super().__init__(
            "A Moonlight client was waiting, but it was not paired: it has another PIN, or it has "
            "gone. Start pairing again in the client and send the PIN that it shows then."
        )


class PairingUnderWay(RequestError):
    """Raised when the session is being paired already: Sunshine takes one PIN at a time."""

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id
        super().__init__(
            f"The session {session_id} is being paired already. Wait until that is over."
        )


class TooManyPins(RequestError):
    """Raised when too many PINs were tried; ``retry_after_s`` tells when the next may be.

    A PIN has 10,000 values: they must not be tried one after the other.
    """

    def __init__(self, session_id: str, retry_after_s: int) -> None:
        self.session_id = session_id
        self.retry_after_s = retry_after_s
        super().__init__(
            f"Too many PINs were tried on the session {session_id}. Try again in {retry_after_s} s."
        )


class ClientNotFound(RequestError):
    """Raised when no paired client has that id."""


class CredentialsHidden(RequestError):
    """Raised when the site has chosen not to show the password of Sunshine's web interface."""


class ScreenshotsOff(RequestError):
    """Raised when the site has chosen to make no pictures of desktops."""


class ScreenshotUnavailable(RequestError):
    """Raised when a session cannot make a picture of its desktop."""


class TooManyScreenshots(RequestError):
    """Raised when pictures are wanted too often; ``retry_after_s`` tells when the next may be."""

    def __init__(self, session_id: str, retry_after_s: int) -> None:
        self.session_id = session_id
        self.retry_after_s = retry_after_s
        super().__init__(
            f"A picture of the session {session_id} was wanted a moment ago. Try again in "
            f"{retry_after_s} s."
        )


class LogNotFound(RequestError):
    """Raised when a session's log is not there, or not any more."""


class ScreenshotFailed(MoonlightError):
    """Raised when a desktop made no picture, or what it made is none."""


class FileUnreadable(MoonlightError):
    """Raised when a session's file may not be read by the service, or is no file of its user's."""


class PairingInterrupted(MoonlightError):
    """Raised when the program was told to stop while a pairing was under way."""


class SunshineError(MoonlightError):
    """Raised for what a session's Sunshine said, or did not say."""


class SunshineUnreachable(SunshineError):
    """Raised when a session's Sunshine does not answer, or not in time."""


class SunshineAnswerUnusable(SunshineError):
    """Raised when what answers is not the session's Sunshine, or its answer makes no sense."""


class ServiceUnavailable(MoonlightError):
    """Raised when the service, through which a user's program goes, cannot be asked now."""


class WaitTimeout(MoonlightError):
    """Raised when a session did not reach the awaited status in time; it goes on all the same."""


class SessionEnded(MoonlightError):
    """Raised when a session ended before it reached the awaited status; the message says why."""


class SlurmError(MoonlightError):
    """Raised for what Slurm said, or did not say."""


class SlurmNotUsable(SlurmError):
    """Raised when pyslurm or slurm.conf is missing, or their versions do not fit."""


class SlurmUnavailable(SlurmError):
    """Raised when slurmctld (or slurmdbd) cannot be reached now; nothing was changed."""


class SubmitRejected(SlurmError):
    """Raised when slurmctld refused a job; the message holds slurmctld's own words."""


class NotPermitted(SubmitRejected):
    """Raised when the user may not use the account, partition or QoS that sessions use."""


class SubmitOutcomeUnknown(SlurmError):
    """Raised when a submit was sent and no answer came: the job may or may not exist."""


class SlurmRefused(SlurmError):
    """Raised when slurmctld refused anything but a submit."""


class StoreError(MoonlightError):
    """Raised for what Redis said, or did not say."""


class StoreUnavailable(StoreError):
    """Raised when Redis cannot be reached now."""


class StoreRefused(StoreError):
    """Raised when Redis answered a command with an error (memory full, no permission, …)."""
