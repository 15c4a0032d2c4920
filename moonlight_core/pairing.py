"""Pairing a Moonlight client with a session's Sunshine, and being sure that it came about.

Sunshine takes a PIN at any time and says whether a client was waiting; whether the PIN was the
client's own shows only in its list of clients. So a pairing is: remember the list, give the PIN
until somebody was waiting for it, look for a newcomer in the list.
"""

from __future__ import annotations

import contextlib
import logging
import re
import secrets
import threading
import time
from typing import TYPE_CHECKING

import attrs

from moonlight_core.errors import (
    InvalidRequest,
    MoonlightError,
    NoClientWaiting,
    PairingInterrupted,
    StoreError,
    SunshineError,
    WrongPin,
)
from moonlight_core.models import PairedClient, Pairing, PairingStatus
from moonlight_core.secret import Secret

if TYPE_CHECKING:
    from moonlight_core.pairing_store import PairingStore
    from moonlight_core.sunshine import Sunshine

_log = logging.getLogger(__name__)

DEFAULT_NAME = "Moonlight client"
_PIN = re.compile(r"[0-9]{4}")
_LONGEST_NAME = 64
_ASK_EVERY_S = 0.5
# A client that has its PIN needs four quick requests; real ones are done within a second (seen).
_CONFIRM_S = 5.0
_CONFIRM_EVERY_S = 0.2
# What the last requests before and after the wait may take at worst.
_AROUND_S = 30.0


@attrs.frozen(kw_only=True)
class PinOffer:
    """A PIN that was drawn for a client, and how to give it to one.

    Attributes:
        pin: four digits.
        address: ``host:port``, as Moonlight's "add host" takes it.
        command: a command line of Moonlight that pairs with it.
        expires_in_s: seconds for which somebody waits for the client.
    """

    pin: str = attrs.field(repr=False)
    address: str
    command: str = attrs.field(repr=False)
    expires_in_s: float


def checked_pin(pin: object) -> Secret:
    """A PIN as somebody sent it.

    Raises:
        InvalidRequest: it is not four digits; the message does not repeat it.
    """
    if not isinstance(pin, str) or not _PIN.fullmatch(pin):
        raise InvalidRequest("pin", 'The PIN must be a string of four digits, as "0214".')
    return Secret(pin)


def drawn_pin() -> Secret:
    """A PIN of our own."""
    return Secret(f"{secrets.randbelow(10_000):04d}")


def checked_name(name: object) -> str:
    """What a client shall be called in Sunshine's list.

    Raises:
        InvalidRequest: it is no text of 1 to 64 printable characters.
    """
    if not isinstance(name, str) or not 1 <= len(name) <= _LONGEST_NAME or not name.isprintable():
        raise InvalidRequest(
            "name", f"The client's name must have 1 to {_LONGEST_NAME} printable characters."
        )
    return name


class PairingAttempt:
    """One PIN for one session: claimed when it is made, carried out by ``run``.

    Attributes:
        session_id: the session.
        offer: what to tell whoever has the client.
    """

    def __init__(
        self,
        session_id: str,
        sunshine: Sunshine,
        store: PairingStore,
        *,
        pin: Secret,
        name: str,
        address: str,
        timeout_s: float,
    ) -> None:
        """Claim the session's Sunshine.

        Raises:
            PairingUnderWay: the session is being paired already.
            TooManyPins: too many PINs were tried lately.
        """
        self.session_id = session_id
        self.offer = PinOffer(
            pin=pin.reveal(),
            address=address,
            command=f"moonlight pair {address} --pin {pin.reveal()}",
            expires_in_s=timeout_s,
        )
        self._sunshine = sunshine
        self._store = store
        self._pin = pin
        self._name = name
        self._timeout_s = timeout_s
        self._token = secrets.token_hex(16)
        store.begin(session_id, self._token, longest_s=timeout_s + _AROUND_S)

    def run(self, stop: threading.Event | None = None) -> PairedClient:
        """Give the PIN to a client that waits, or that comes in time, and see it paired.

        Args:
            stop: ends the wait.

        Raises:
            NoClientWaiting: no client came in time.
            WrongPin: a client came and was not paired: it has another PIN.
            PairingInterrupted: ``stop`` was set.
            SunshineUnreachable, SunshineAnswerUnusable: Sunshine was no help.
        """
        result = Pairing(status=PairingStatus.FAILED, error="The pairing broke off.")
        try:
            client = self._pair(stop or threading.Event())
            result = Pairing(status=PairingStatus.PAIRED, client=client)
        except MoonlightError as exc:
            result = Pairing(status=_status_of(exc), error=str(exc))
            raise
        finally:
            self._tell(result)
        return client

    def _pair(self, stop: threading.Event) -> PairedClient:
        before = {client.uuid for client in self._sunshine.clients()}
        deadline = time.monotonic() + self._timeout_s
        while not self._sunshine.enter_pin(self._pin, self._name):
            if time.monotonic() >= deadline:
                raise NoClientWaiting(self.offer.address, self._timeout_s)
            self._pause(_ASK_EVERY_S, stop)
        try:
            return self._newcomer(before, stop)
        except MoonlightError:
            with contextlib.suppress(SunshineError):
                self._sunshine.drop_pairing()
            raise

    def _newcomer(self, before: set[str], stop: threading.Event) -> PairedClient:
        """The client that the list has now and had not before."""
        deadline = time.monotonic() + _CONFIRM_S
        while True:
            new = [client for client in self._sunshine.clients() if client.uuid not in before]
            if new:
                # The newest: another one may have come by way of the web interface.
                return new[-1]
            if time.monotonic() >= deadline:
                raise WrongPin
            self._pause(_CONFIRM_EVERY_S, stop)

    def _pause(self, seconds: float, stop: threading.Event) -> None:
        if stop.wait(seconds):
            raise PairingInterrupted("The service was stopped while it waited. Pair again.")

    def _tell(self, pairing: Pairing) -> None:
        """Write how it ended; what was done is done, even when nobody can be told."""
        try:
            self._store.end(self.session_id, self._token, pairing)
        except StoreError as exc:
            _log.warning("session %s: the pairing's end is not recorded: %s", self.session_id, exc)
        _log.info("session %s: pairing ended: %s", self.session_id, pairing.status)


def _status_of(error: MoonlightError) -> PairingStatus:
    if isinstance(error, WrongPin):
        return PairingStatus.WRONG_PIN
    if isinstance(error, NoClientWaiting):
        return PairingStatus.NO_CLIENT
    return PairingStatus.FAILED
