"""What Sunshine keeps in files: web credentials, its own identity and the paired clients."""

import hashlib
import json
import secrets
import ssl
import string
import subprocess
import threading
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .journal import Journal


class StartupError(Exception):
    """Raised when keys or credentials cannot be made or read: Sunshine then exits at once."""


def password_hash(password: str, salt: str) -> str:
    """Return Sunshine's hash: sha256 of password and salt, bytes reversed, upper-case hex."""
    return hashlib.sha256((password + salt).encode()).digest()[::-1].hex().upper()


def _read_json(path: Path) -> dict[str, Any]:
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no JSON object")
    return content


class Credentials:
    """User name and password of the web interface, kept in `credentials_file`.

    As long as the file has none, anybody may set them. A file that cannot be read as JSON counts
    as having none, which is what Sunshine does.
    """

    def __init__(self, path: Path, journal: Journal) -> None:
        self._path = path
        self._journal = journal
        self._username = ""
        self._salt = ""
        self._hash = ""
        try:
            content = _read_json(path) if path.exists() else {}
        except (OSError, ValueError) as error:
            journal.error(f"validating user credentials: {error}")
            content = {}
        if {"username", "salt", "password"} <= content.keys():
            self._username = str(content["username"])
            self._salt = str(content["salt"])
            self._hash = str(content["password"])
        else:
            journal.info(
                "Open the Web UI to set your new username and password and getting started"
            )

    @property
    def exist(self) -> bool:
        """Whether a user name has been set."""
        return bool(self._username)

    def match(self, username: str, password: str) -> bool:
        """Tell whether these are the credentials; the case of the user name does not count."""
        same_user = username.lower() == self._username.lower()
        digest = password_hash(password, self._salt)
        return same_user and secrets.compare_digest(digest, self._hash)

    def save(self, username: str, password: str) -> None:
        """Set new credentials and write them, beside whatever else the file holds."""
        salt = "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(16))
        try:
            content = _read_json(self._path) if self._path.exists() else {}
            content |= {
                "username": username,
                "salt": salt,
                "password": password_hash(password, salt),
            }
            self._path.write_text(json.dumps(content, indent=4) + "\n", encoding="utf-8")
        except (OSError, ValueError) as error:
            self._journal.error(f"error writing to the credentials file: {error}")
            return
        self._username, self._salt, self._hash = username, salt, content["password"]
        self._journal.info("New credentials have been created")


@dataclass
class Client:
    """A paired client, known by its certificate (PEM)."""

    name: str
    cert: str
    uuid: str
    enabled: bool = True


class State:
    """`file_state`: Sunshine's `uniqueid` and the paired clients.

    The file is written when a client is paired or unpaired and not before: a Sunshine nobody ever
    paired with has another uniqueid after each start.
    """

    def __init__(self, path: Path, journal: Journal) -> None:
        self._path = path
        self._journal = journal
        self._lock = threading.Lock()
        self.uniqueid = str(uuid.uuid4()).upper()
        self._clients: list[Client] = []
        if not path.exists():
            journal.info(f"File {path} doesn't exist")
            return
        try:
            root = _read_json(path).get("root", {})
            self.uniqueid = str(root.get("uniqueid", self.uniqueid))
            for entry in root.get("named_devices") or []:
                # Sunshine's own writer turns the flag into text.
                enabled = str(entry.get("enabled", True)).lower() == "true"
                self._clients.append(
                    Client(entry["name"], entry["cert"], entry["uuid"], enabled=enabled)
                )
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
            journal.error(f"Couldn't read {path}: {error}")

    def _save(self) -> None:
        try:
            content = _read_json(self._path) if self._path.exists() else {}
            devices = [
                asdict(client) | {"enabled": str(client.enabled).lower()}
                for client in self._clients
            ]
            content["root"] = {"uniqueid": self.uniqueid, "named_devices": devices}
            self._path.write_text(json.dumps(content, indent=4) + "\n", encoding="utf-8")
        except (OSError, ValueError) as error:
            self._journal.error(f"Couldn't write {self._path}: {error}")

    def clients(self) -> list[Client]:
        """Return the paired clients, oldest first."""
        with self._lock:
            return list(self._clients)

    def add(self, name: str, cert: str) -> None:
        """Remember a client that has just been paired."""
        with self._lock:
            self._clients.append(Client(name, cert, str(uuid.uuid4()).upper()))
            self._save()

    def remove(self, client_uuid: str) -> bool:
        """Forget a client; tell whether there was one."""
        with self._lock:
            kept = [client for client in self._clients if client.uuid != client_uuid]
            removed = len(kept) != len(self._clients)
            self._clients = kept
            self._save()
            return removed

    def clear(self) -> None:
        """Forget all clients."""
        with self._lock:
            self._clients = []
            self._save()

    def enable(self, client_uuid: str, *, enabled: bool) -> bool:
        """Allow or bar a paired client; tell whether there is such a one."""
        with self._lock:
            for client in self._clients:
                if client.uuid == client_uuid:
                    client.enabled = enabled
                    self._save()
                    return True
            return False

    def knows(self, certificate: bytes | None) -> bool:
        """Tell whether this certificate (DER) is that of a paired client which is not barred."""
        if certificate is None:
            return False
        return any(
            client.enabled and ssl.PEM_cert_to_DER_cert(client.cert) == certificate
            for client in self.clients()
        )


def make_certificate(pkey: Path, cert: Path, common_name: str) -> None:
    """Make a self-signed certificate with the `openssl` program, good for twenty years.

    Raises:
        StartupError: when that does not work, with openssl's last word.
    """
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "7300"]
    command += ["-subj", f"/CN={common_name}", "-keyout", str(pkey), "-out", str(cert)]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise StartupError(f"openssl: {error}") from error
    if result.returncode:
        words = result.stderr.strip().splitlines()
        raise StartupError(f"Couldn't make a certificate: {words[-1] if words else 'openssl'}")
    pkey.chmod(0o600)
    cert.chmod(0o644)
