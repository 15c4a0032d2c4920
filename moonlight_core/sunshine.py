"""What we know of Sunshine: the credentials of its web interface and API."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import TYPE_CHECKING

from moonlight_core.secret import Secret

if TYPE_CHECKING:
    from moonlight_core.models import Session

_SALT_LENGTH = 16


def password(service_secret: Secret, session_id: str) -> Secret:
    """The password of a session's Sunshine: derived, so that it need not be stored anywhere."""
    return Secret(
        base64.urlsafe_b64encode(_derive(service_secret, "password", session_id)).decode()
    )


def credentials_file(service_secret: Secret, session: Session) -> str:
    """The text of Sunshine's ``credentials_file`` for a session.

    It holds a salted hash; the password itself never leaves the service. Sunshine stores the
    SHA-256 of password and salt with its bytes in reverse order, in upper-case hexadecimal (seen).
    """
    salt = _derive(service_secret, "salt", session.session_id).hex()[:_SALT_LENGTH]
    secret = password(service_secret, session.session_id).reveal()
    digest = hashlib.sha256((secret + salt).encode()).digest()[::-1].hex().upper()
    return json.dumps({"username": session.username, "salt": salt, "password": digest})


def _derive(service_secret: Secret, purpose: str, session_id: str) -> bytes:
    message = f"sunshine {purpose} {session_id}".encode()
    return hmac.digest(service_secret.reveal().encode(), message, "sha256")
