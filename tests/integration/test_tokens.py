"""Tokens: only those of the configured issuer, for this service, of the one algorithm, in time."""

from __future__ import annotations

import base64
import json
import time
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from live import SESSIONS, Live

from moonlight_core.errors import SettingsError

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Callable
    from pathlib import Path

    Serve = Callable[..., contextlib.AbstractContextManager[Live]]

SECRET = "a-shared-secret-of-more-than-32-bytes!"
SETTINGS = {"audience": "moonlight", "issuer": "https://portal.example.org"}
IN_2100 = 4102444800


def claims(**changes: Any) -> dict[str, Any]:
    """What the portal says of alice; a claim of None is left out."""
    now = int(time.time())
    said = {
        "sub": "alice",
        "aud": "moonlight",
        "iss": "https://portal.example.org",
        "iat": now,
        "exp": now + 60,
    } | changes
    return {name: value for name, value in said.items() if value is not None}


def pem(key: Any) -> bytes:
    """A public key."""
    made: bytes = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return made


@pytest.fixture(scope="module")
def rsa_key() -> rsa.RSAPrivateKey:
    """The portal's key."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    """The secret that portal and service share."""
    path = tmp_path / "jwt.secret"
    path.write_text(SECRET + "\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def shared(serve: Serve, secret_file: Path) -> contextlib.AbstractContextManager[Live]:
    """The service with HS256."""
    return serve(
        service={"identity": "jwt"},
        jwt=SETTINGS | {"algorithm": "HS256", "key_file": str(secret_file), "cookie": "portal"},
    )


def ask(live: Live, token: str | bytes, **headers: str) -> tuple[int, str]:
    """The status and code of a request with a token."""
    text = token if isinstance(token, str) else token.decode()
    status, _, answer = live.ask("GET", SESSIONS, Authorization=f"Bearer {text}", **headers)
    return status, answer.get("code", "")


def signed(said: dict[str, Any], key: Any = SECRET, algorithm: str = "HS256", **head: Any) -> str:
    """A token."""
    return jwt.encode(said, key, algorithm, headers=head or None)


def test_a_good_token_is_its_user(shared: contextlib.AbstractContextManager[Live]) -> None:
    """In the Authorization header or the cookie, or the same in both."""
    token = signed(claims())
    with shared as live:
        status, _, made = live.ask("POST", SESSIONS, {}, Authorization=f"Bearer {token}")
        assert (status, made["username"]) == (201, "alice")
        status, _, listed = live.ask("GET", SESSIONS, Cookie=f"a=b; portal={token}")
        assert (status, len(listed["sessions"])) == (200, 1)
        assert ask(live, token, Cookie=f"portal={token}") == (200, "")
        assert ask(live, signed(claims(aud=["other", "moonlight"]))) == (200, "")
        assert ask(live, signed(claims(exp=int(time.time()) - 5))) == (200, "")  # the leeway


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": 1},
        {"exp": None},
        {"exp": "tomorrow"},
        {"nbf": IN_2100},
        {"iat": IN_2100},
        {"aud": "another"},
        {"aud": None},
        {"aud": []},
        {"iss": "https://evil.example.org"},
        {"iss": None},
        {"sub": None},
        {"sub": ""},
    ],
    ids=str,
)
def test_a_token_that_says_the_wrong_thing(
    shared: contextlib.AbstractContextManager[Live], changes: dict[str, Any]
) -> None:
    """Each claim counts, and a missing one is no free pass."""
    with shared as live:
        status, code = ask(live, signed(claims(**changes)))
    assert (status, code) in ((401, "invalid_token"), (403, "user_not_allowed"))


def test_a_forged_token(
    shared: contextlib.AbstractContextManager[Live], rsa_key: rsa.RSAPrivateKey
) -> None:
    """Another key, another algorithm, none at all, half a token."""
    good = signed(claims())
    head, body, signature = good.split(".")
    none = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()
    root = base64.urlsafe_b64encode(json.dumps(claims(sub="root")).encode()).rstrip(b"=").decode()
    forged = [
        signed(claims(), "another-secret-of-more-than-32-bytes!!"),
        signed(claims(), SECRET.ljust(48, "x")[:48], "HS384"),
        signed(claims(), rsa_key, "RS256"),
        jwt.encode(claims(), None, "none"),
        f"{none}.{body}.",
        f"{none}.{body}.{signature}",
        f"{head}.{root}.{signature}",
        f"{head}.{body}",
        f"{head}.{body}.",
        "x", "a.b.c", "." * 5000, "A" * 9000,
    ]  # fmt: skip
    with shared as live:
        for token in forged:
            assert ask(live, token) == (401, "invalid_token"), token
        status, headers, answer = live.ask("GET", SESSIONS)
        assert (status, answer["code"]) == (401, "not_identified")
        assert headers["www-authenticate"].startswith("Bearer")
        basic = {"Authorization": "Basic YWxpY2U6eA=="}
        assert live.ask("GET", SESSIONS, **basic)[0] == 401
        other = signed(claims(sub="bob"))
        assert ask(live, good, Cookie=f"portal={other}") == (401, "invalid_token")


def test_tokens_of_people_who_may_not(shared: contextlib.AbstractContextManager[Live]) -> None:
    """A token proves a name; whether the name may is the system's word."""
    with shared as live:
        for name in ("root", "mallory", "Alice", "alice\nbob", "a" * 5000):
            assert ask(live, signed(claims(sub=name)))[0] in (401, 403)
        for name in (["alice"], {"x": 1}, 2001, True):
            said = signed({**claims(), "user": name}) if name else ""
            assert ask(live, said) == (200, "")


def test_the_header_names_nobody_beside_tokens(
    shared: contextlib.AbstractContextManager[Live],
) -> None:
    """One way to be known, not two."""
    with shared as live:
        status, _, answer = live.ask("GET", SESSIONS, X_Remote_User="alice")
        assert (status, answer["code"]) == (403, "untrusted_proxy")
        assert ask(live, signed(claims()), X_Remote_User="alice") == (403, "untrusted_proxy")


def test_another_claim_may_name_the_user(serve: Serve, secret_file: Path) -> None:
    """And it must be text."""
    settings = SETTINGS | {"algorithm": "HS256", "key_file": str(secret_file), "user_claim": "uid"}
    with serve(service={"identity": "jwt"}, jwt=settings) as live:
        assert ask(live, signed(claims(sub="4711", uid="bob"))) == (200, "")
        assert ask(live, signed(claims())) == (401, "invalid_token")
        for name in (["bob"], {"bob": 1}, 2001, None, True):
            assert ask(live, signed({**claims(), "uid": name})) == (401, "invalid_token")


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "EdDSA"])
def test_public_keys(
    serve: Serve, tmp_path: Path, rsa_key: rsa.RSAPrivateKey, algorithm: str
) -> None:
    """The service holds no key that could sign; one it is not told of signs for nobody."""
    made: dict[str, Callable[[], Any]] = {
        "RS256": lambda: rsa_key,
        "PS256": lambda: rsa_key,
        "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "EdDSA": ed25519.Ed25519PrivateKey.generate,
    }
    key = made[algorithm]()
    path = tmp_path / "portal.pem"
    path.write_bytes(pem(key))
    path.chmod(0o644)
    settings = SETTINGS | {"algorithm": algorithm, "key_file": str(path)}
    with serve(service={"identity": "jwt"}, jwt=settings) as live:
        assert ask(live, signed(claims(), key, algorithm)) == (200, "")
        # The public key taken for a shared secret: the classic confusion.
        head = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').rstrip(b"=")
        body = base64.urlsafe_b64encode(json.dumps(claims()).encode()).rstrip(b"=")
        hmac = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
        mac = base64.urlsafe_b64encode(hmac.sign(head + b"." + body, pem(key))).rstrip(b"=")
        assert ask(live, b".".join((head, body, mac))) == (401, "invalid_token")
        stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        assert ask(live, signed(claims(), stranger, "RS256")) == (401, "invalid_token")


def test_a_key_set_can_be_rotated(serve: Serve, tmp_path: Path, rsa_key: rsa.RSAPrivateKey) -> None:
    """The key by its kid; a file that was changed is read again, a broken one answers 503."""
    second = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    path = tmp_path / "jwks.json"

    def write(**keys: Any) -> None:
        described = [
            jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
            | {"kid": kid, "alg": "RS256", "use": "sig"}
            for kid, key in keys.items()
        ]
        shared = {"kty": "oct", "kid": "shared", "k": "c2VjcmV0" * 8, "alg": "HS256"}
        path.write_text(json.dumps({"keys": [*described, shared]}))
        path.chmod(0o644)

    write(one=rsa_key)
    settings = SETTINGS | {"jwks_file": str(path)}
    with serve(service={"identity": "jwt"}, jwt=settings) as live:
        assert ask(live, signed(claims(), rsa_key, "RS256", kid="one")) == (200, "")
        assert ask(live, signed(claims(), rsa_key, "RS256")) == (200, "")
        assert ask(live, signed(claims(), second, "RS256", kid="two")) == (401, "invalid_token")
        assert ask(live, signed(claims(), second, "RS256", kid="one")) == (401, "invalid_token")
        shared = base64.urlsafe_b64decode("c2VjcmV0" * 8)
        assert ask(live, signed(claims(), shared, kid="shared")) == (401, "invalid_token")
        write(one=rsa_key, two=second)
        assert ask(live, signed(claims(), second, "RS256", kid="two")) == (200, "")
        assert ask(live, signed(claims(), second, "RS256")) == (401, "invalid_token")
        write(two=second)
        assert ask(live, signed(claims(), rsa_key, "RS256", kid="one")) == (401, "invalid_token")
        path.write_text("{")
        assert ask(live, signed(claims(), second, "RS256", kid="two")) == (
            503,
            "identity_unavailable",
        )


def test_keys_that_will_not_do(
    serve: Serve, tmp_path: Path, secret_file: Path, rsa_key: rsa.RSAPrivateKey
) -> None:
    """Each is told at the start, as a sentence."""
    private = tmp_path / "private.pem"
    private.write_bytes(
        rsa_key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    public = tmp_path / "public.pem"
    public.write_bytes(pem(rsa_key))
    public.chmod(0o666)
    short = tmp_path / "short"
    short.write_text("password\n")
    for path in (private, short):
        path.chmod(0o600)
    junk = tmp_path / "junk"
    junk.write_text("junk")
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"key_file": str(private)}, "private key"),
        ({"key_file": str(public)}, "Others can change"),
        ({"key_file": str(junk)}, "cannot be used"),
        ({"key_file": str(tmp_path / "none")}, "cannot be read"),
        ({"key_file": str(short), "algorithm": "HS256"}, "is short"),
        ({"jwks_file": str(junk)}, "cannot be used"),
        ({}, "key_file or jwks_file"),
        ({"key_file": str(public), "jwks_file": str(junk)}, "key_file or jwks_file"),
        ({"key_file": str(public), "algorithm": "none"}, "algorithm is 'none'"),
        ({"key_file": str(public), "audience": ""}, "audience is empty"),
        ({"key_file": str(public), "issuer": ""}, "issuer is empty"),
    ]
    for settings, told in wrong:
        with (
            pytest.raises(SettingsError, match=told),
            serve(service={"identity": "jwt"}, jwt=SETTINGS | settings),
        ):
            pass
    secret_file.chmod(0o640)
    with (
        pytest.raises(SettingsError, match="chmod 600"),
        serve(
            service={"identity": "jwt"},
            jwt=SETTINGS | {"algorithm": "HS256", "key_file": str(secret_file)},
        ),
    ):
        pass
