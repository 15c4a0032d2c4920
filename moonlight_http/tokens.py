"""Callers known by a JSON Web Token that the site's portal has signed (RFC 7519), by PyJWT."""

from __future__ import annotations

import json
import logging
import os
import stat
import threading
from typing import TYPE_CHECKING, Any

import falcon
import jwt

from moonlight_core.errors import SettingsError
from moonlight_core.secret import read_secret
from moonlight_http.errors import Refusal

if TYPE_CHECKING:
    from pathlib import Path

    from moonlight_core.service_settings import JwtSettings

_log = logging.getLogger(__name__)

_LONGEST_TOKEN = 8192
_SHORTEST_SECRET_BYTES = 32  # RFC 7518, section 3.2, for HS256
_WHY: tuple[tuple[type[jwt.PyJWTError], str], ...] = (
    (jwt.ExpiredSignatureError, "The token has expired; log in again."),
    (jwt.ImmatureSignatureError, "The token is not valid yet; are the clocks right?"),
    (jwt.InvalidAudienceError, "The token is for another service (aud)."),
    (jwt.InvalidIssuerError, "The token is from somewhere else (iss)."),
    (jwt.MissingRequiredClaimError, "The token lacks a claim: exp, aud, iss and the user's name."),
)


class TokenIdentity:
    """The user's name in a token; everything about the token is checked before it is believed.

    The signature must be of the one configured algorithm, whatever the token's header says, and
    ``exp``, ``aud``, ``iss`` and the user's claim must be there.
    """

    def __init__(self, settings: JwtSettings, *, user_header: str) -> None:
        """Read the key, so that a faulty one is told at the start.

        Raises:
            SettingsError: the key cannot be used.
        """
        self._settings = settings
        self._user_header = user_header
        self._keys = _Keys(settings)
        self._keys.now()

    def name(self, req: falcon.Request) -> str:
        """See ``moonlight_http.identity.Source.name``."""
        if req.get_header(self._user_header) is not None:
            raise Refusal(
                falcon.HTTP_403,
                "untrusted_proxy",
                f"The header {self._user_header} names nobody here: callers are known by a token.",
            )
        claims = self._claims(self._token(req))
        name = claims[self._settings.user_claim]
        if not isinstance(name, str):
            raise _refused("The token's user name is no text.")
        return name

    def _token(self, req: falcon.Request) -> str:
        found = set()
        header = req.get_header("Authorization")
        if header is not None:
            scheme, _, token = header.strip().partition(" ")
            if scheme.lower() != "bearer" or not token:
                raise _refused("The Authorization header must be: Bearer, a space and the token.")
            found.add(token.strip())
        if self._settings.cookie:
            found |= set(req.get_cookie_values(self._settings.cookie) or ())
        if not found:
            raise _refused(
                "The request holds no token: log in at the site's portal, or send the header "
                "Authorization: Bearer with a token.",
                code="not_identified",
            )
        if len(found) > 1:
            raise _refused("The request holds different tokens: send one.")
        (token,) = found
        if len(token) > _LONGEST_TOKEN:
            raise _refused("The token is too long to be one.")
        return token

    def _claims(self, token: str) -> dict[str, Any]:
        settings = self._settings
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self._keys.fitting(token),
                algorithms=[settings.algorithm],
                audience=settings.audience,
                issuer=settings.issuer,
                leeway=settings.leeway_s,
                options={"require": ["exp", "aud", "iss", settings.user_claim]},
            )
        except SettingsError as exc:
            _log.error("tokens cannot be checked: %s", exc)
            raise Refusal(
                falcon.HTTP_503,
                "identity_unavailable",
                "Tokens cannot be checked now: the service's key cannot be read. Tell the "
                "administrators.",
            ) from exc
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as exc:
            why = next(
                (sentence for kind, sentence in _WHY if isinstance(exc, kind)),
                "The token is none of this site's.",
            )
            raise _refused(why) from exc
        return claims


def _refused(sentence: str, *, code: str = "invalid_token") -> Refusal:
    return Refusal(
        falcon.HTTP_401, code, sentence, headers={"WWW-Authenticate": 'Bearer realm="moonlight"'}
    )


class _Keys:
    """The keys of the configured file, read again when the file has changed."""

    def __init__(self, settings: JwtSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._read_at: object = None
        self._keys: list[jwt.PyJWK] = []

    def now(self) -> list[jwt.PyJWK]:
        """The keys as the file has them."""
        path = self._settings.key_file or self._settings.jwks_file
        assert path is not None  # noqa: S101 - one of them is set, the settings see to it
        with self._lock:
            try:
                status = path.stat()
            except OSError as exc:
                raise SettingsError([f"The key file {path} cannot be read: {exc}."]) from exc
            version = (status.st_mtime_ns, status.st_ino, status.st_size)
            if version != self._read_at:
                self._keys = self._read(path)
                self._read_at = version
            return self._keys

    def fitting(self, token: str) -> jwt.PyJWK:
        """The key that a token says it is signed with.

        Raises:
            PyJWTError: there is no such key.
        """
        keys = self.now()
        wanted = jwt.get_unverified_header(token).get("kid")
        if self._settings.key_file is not None or (wanted is None and len(keys) == 1):
            return keys[0]
        for key in keys:
            if key.key_id == wanted and wanted is not None:
                return key
        raise jwt.InvalidKeyError("no such key")

    def _read(self, path: Path) -> list[jwt.PyJWK]:
        algorithm = self._settings.algorithm
        try:
            if self._settings.jwks_file is not None:
                check_nobody_else_writes(path)
                keys = [
                    key
                    for key in jwt.PyJWKSet.from_dict(json.loads(path.read_bytes())).keys
                    if key.algorithm_name == algorithm and key.key_type != "oct"
                ]
                if not keys:
                    raise SettingsError([f"The key set {path} has no public key for {algorithm}."])
                return keys
            return [_single_key(path, algorithm)]
        except (OSError, ValueError, TypeError, AttributeError, jwt.PyJWTError) as exc:
            told = f"The key file {path} cannot be used for {algorithm}: {exc}"
            hint = "RS, PS, ES and Ed keys need cryptography: pip install 'PyJWT[crypto]'"
            raise SettingsError([f"{told}. {hint}."]) from exc


def _single_key(path: Path, algorithm: str) -> jwt.PyJWK:
    if algorithm.startswith("HS"):
        secret = read_secret(path).reveal().encode()
        if len(secret) < _SHORTEST_SECRET_BYTES:
            told = f"The secret in {path} is short"
            raise SettingsError([f"{told}: {algorithm} wants {_SHORTEST_SECRET_BYTES} bytes."])
        described = jwt.get_algorithm_by_name(algorithm).to_jwk(secret, as_dict=True)
        return jwt.PyJWK(described, algorithm)
    check_nobody_else_writes(path)
    text = path.read_bytes()
    if b"PRIVATE KEY" in text:
        raise SettingsError([f"{path} holds a private key: the service needs the public one."])
    kind = jwt.get_algorithm_by_name(algorithm)
    described = kind.to_jwk(kind.prepare_key(text), as_dict=True)
    return jwt.PyJWK(described, algorithm)


def check_nobody_else_writes(path: Path) -> None:
    """See that only root and we ourselves can change a file.

    Raises:
        SettingsError: somebody else can.
    """
    status = path.stat()
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or status.st_uid not in (0, os.geteuid()):
        raise SettingsError(
            [f"Others can change {path}: it must belong to root, and chmod 644 {path}."]
        )
