"""Secrets are read only from private files and never shown."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import pytest
from session_factory import session

from moonlight_core import SettingsError, sunshine
from moonlight_core.secret import Secret, read_secret

if TYPE_CHECKING:
    from pathlib import Path


def test_a_secret_does_not_show_itself() -> None:
    """In no form that a log would use."""
    secret = Secret("hunter2")
    assert "hunter2" not in f"{secret} {secret!r} {[secret]}"
    assert secret.reveal() == "hunter2"


def test_a_private_file_is_read(tmp_path: Path) -> None:
    """The first line, without its end."""
    path = tmp_path / "secret"
    path.write_text("hunter2\n")
    path.chmod(0o600)
    assert read_secret(path).reveal() == "hunter2"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_file_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    """With what to do about it."""
    path = tmp_path / "secret"
    path.write_text("hunter2\n")
    path.chmod(mode)
    with pytest.raises(SettingsError, match="chmod 600") as caught:
        read_secret(path)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("content", [None, "", "\n"])
def test_a_missing_or_empty_file_is_refused(tmp_path: Path, content: str | None) -> None:
    """A secret of nothing is none."""
    path = tmp_path / "secret"
    if content is not None:
        path.write_text(content)
        path.chmod(0o600)
    with pytest.raises(SettingsError, match=str(path)):
        read_secret(path)


def test_credentials_are_as_sunshine_stores_them(secret: Secret) -> None:
    """SHA-256 of password and salt, bytes reversed, upper-case hexadecimal; no password inside."""
    one = session()
    text = sunshine.credentials_file(secret, one)
    stored = json.loads(text)
    password = sunshine.password(secret, one.session_id).reveal()
    digest = hashlib.sha256((password + stored["salt"]).encode()).digest()
    assert stored["password"] == digest[::-1].hex().upper()
    assert len(stored["salt"]) == 16
    assert stored["username"] == "alice"
    assert password not in text


def test_every_session_has_credentials_of_its_own(secret: Secret) -> None:
    """And another service secret makes other ones."""
    one, other = session(), session()
    assert sunshine.password(secret, one.session_id).reveal() != (
        sunshine.password(secret, other.session_id).reveal()
    )
    assert sunshine.password(Secret("another"), one.session_id).reveal() != (
        sunshine.password(secret, one.session_id).reveal()
    )
