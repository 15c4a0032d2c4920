"""A pretend Moonlight client for the stand-in: pairs, launches, "streams", quits.

    client --dir DIR pair HOST:PORT --pin 1234
    client --dir DIR stream HOST:PORT [--app Desktop] [--mode 1280x720x60] [--seconds N] [--quit]
    client --dir DIR quit HOST:PORT
    client serverinfo HOST:PORT

It speaks the stand-in's own form of pairing and streaming and is of no use with a real Sunshine.
"""

import argparse
import contextlib
import secrets
import socket
import ssl
import sys
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from urllib.parse import urlencode

from .gamestream import RTSP_OFFSET
from .pairing import proof
from .state import make_certificate

UNIQUEID = "0123456789ABCDEF"
"""What every Moonlight client calls itself."""

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_WRONG_PIN, EXIT_NOT_PAIRED = 0, 1, 2, 3, 4
TIMEOUT_S = 10.0


class ClientError(Exception):
    """Raised when the host answers no, with what it says and the exit code for it."""

    def __init__(self, message: str, code: int = EXIT_FAILED) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Answer:
    """A host's XML: its status, and its elements by name."""

    status: int
    message: str
    values: dict[str, str]
    apps: dict[str, int]


def _parse(body: bytes) -> Answer:
    root = ET.fromstring(body)  # noqa: S314 - from the stand-in beside us
    apps = {a.findtext("AppTitle", ""): int(a.findtext("ID", "0")) for a in root.findall("App")}
    values = {element.tag: element.text or "" for element in root if element.tag != "App"}
    status = int(root.get("status_code", "0"))
    return Answer(status, root.get("status_message", ""), values, apps)


class Client:
    """One client with its own certificate, and the host it speaks to."""

    def __init__(self, host: str, port: int, folder: Path) -> None:
        self._host = host
        self._port = port
        self._key = folder / "client.key"
        self._cert = folder / "client.crt"
        self._server = folder / f"{host}_{port}.crt"

    def _identity(self) -> str:
        if not self._cert.exists():
            self._cert.parent.mkdir(parents=True, exist_ok=True)
            make_certificate(self._key, self._cert, "NVIDIA GameStream Client")
        return self._cert.read_text(encoding="ascii")

    def http(self, path: str, query: dict[str, str], timeout_s: float = TIMEOUT_S) -> Answer:
        """Ask on port P."""
        connection = HTTPConnection(self._host, self._port, timeout=timeout_s)
        return self._ask(connection, path, query)

    def https(self, path: str, query: dict[str, str] | None = None) -> Answer:
        """Ask on the HTTPS port, with our certificate, and only the host we paired with.

        Raises:
            ClientError: when we are not paired, or the host is another one than then.
        """
        if not self._server.exists():
            raise ClientError("not paired with this host", EXIT_NOT_PAIRED)
        port = int(self.http("/serverinfo", {}).values["HttpsPort"])
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(self._server)
        context.load_cert_chain(self._cert, self._key)
        connection = HTTPSConnection(self._host, port, timeout=TIMEOUT_S, context=context)
        try:
            answer = self._ask(connection, path, query or {})
        except (ssl.SSLError, ConnectionError) as error:
            raise ClientError(f"not paired with this host: {error}", EXIT_NOT_PAIRED) from error
        if answer.status == 401:
            raise ClientError("not paired with this host", EXIT_NOT_PAIRED)
        return answer

    @staticmethod
    def _ask(connection: HTTPConnection, path: str, query: dict[str, str]) -> Answer:
        with contextlib.closing(connection):
            connection.request("GET", f"{path}?{urlencode({'uniqueid': UNIQUEID} | query)}")
            return _parse(connection.getresponse().read())

    def pair(self, pin: str, timeout_s: float, *, leave: bool = False) -> None:
        """Pair, waiting for somebody to give the PIN to the host.

        When the host was given another PIN, some clients go on to the end and others leave at once;
        `leave` is to be one of those, after which the host is left with an unfinished attempt.

        Raises:
            ClientError: when the host was given another PIN, or gave up.
            TimeoutError: when nobody gave it one.
        """
        certificate = self._identity()
        salt = secrets.token_hex(16)
        query = {"phrase": "getservercert", "salt": salt, "clientcert": certificate.encode().hex()}
        answer = self.http("/pair", query, timeout_s)
        if answer.values.get("paired") != "1":
            raise ClientError(answer.message or "the host refused")
        right = answer.values["standinproof"] == proof(pin, salt, "host")
        server = bytes.fromhex(answer.values["plaincert"])
        if right or not leave:
            answer = self.http("/pair", {"standinproof": proof(pin, salt, "client")})
        if not right:
            raise ClientError("the host was given another PIN", EXIT_WRONG_PIN)
        if answer.values.get("paired") != "1":
            raise ClientError(answer.message or "the host refused")
        # The only certificate we accept from this host from now on.
        self._server.write_bytes(server)

    def launch(self, app: str, mode: str) -> None:
        """Launch an application, or come back to the one that runs.

        Raises:
            ClientError: when the host cannot, with what it says.
        """
        keys = {"rikey": secrets.token_hex(16), "rikeyid": "1", "localAudioPlayMode": "0"}
        if self.https("/serverinfo").values["state"] == "SUNSHINE_SERVER_BUSY":
            answer = self.https("/resume", keys)
        else:
            apps = self.https("/applist").apps
            if app not in apps:
                raise ClientError(f"the host has no application {app!r}, it has {sorted(apps)}")
            answer = self.https("/launch", keys | {"appid": str(apps[app]), "mode": mode})
        if answer.status != 200:
            raise ClientError(answer.message)

    def stream(self) -> socket.socket:
        """Open the stream of what was launched; it goes on until the socket is closed.

        Raises:
            ClientError: when the host cannot stream.
        """
        address = (self._host, self._port + RTSP_OFFSET)
        connection = socket.create_connection(address, TIMEOUT_S)
        try:
            connection.sendall(b"STREAM " + UNIQUEID.encode() + b"\n")
            reply = connection.recv(64)
        except OSError:
            connection.close()
            raise
        if reply != b"STREAMING\n":
            connection.close()
            raise ClientError("the host did not start the stream")
        connection.settimeout(None)
        return connection

    def quit(self) -> None:
        """End the application that runs on the host."""
        self.https("/cancel")


def _host_and_port(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is no HOST:PORT")
    return host, int(port)


def make_parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(prog="client", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--dir", type=Path, default=Path("standin-client"), help="its own files")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("serverinfo", "pair", "stream", "quit"):
        command = commands.add_parser(name)
        command.add_argument("address", type=_host_and_port, metavar="HOST:PORT")
        if name == "pair":
            command.add_argument("--pin", required=True, help="four digits, as the host will get")
            command.add_argument("--timeout", type=float, default=60.0, help="seconds to wait")
        if name == "stream":
            command.add_argument("--app", default="Desktop")
            command.add_argument("--mode", default="1280x720x60", help="WIDTHxHEIGHTxFPS")
            command.add_argument("--seconds", type=float, help="how long; default: until killed")
            command.add_argument("--quit", action="store_true", help="end the application after")
    return parser


def _stream(client: Client, options: argparse.Namespace) -> None:
    client.launch(options.app, options.mode)
    with client.stream() as connection:
        _say("streaming")
        connection.settimeout(options.seconds)
        with contextlib.suppress(TimeoutError):
            while connection.recv(64):
                pass
    if options.quit:
        client.quit()


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says; exit codes are named at the top."""
    options = make_parser().parse_args(arguments)
    host, port = options.address
    client = Client(host, port, options.dir)
    try:
        match options.command:
            case "serverinfo":
                for name, value in client.http("/serverinfo", {}).values.items():
                    _say(f"{name} {value}")
            case "pair":
                _say(f"waiting for the PIN {options.pin} to be given to the host")
                client.pair(options.pin, options.timeout)
                _say("paired")
            case "stream":
                _stream(client, options)
            case "quit":
                client.quit()
    except ClientError as error:
        _say(f"client: {error}")
        return error.code
    except (OSError, HTTPException, ET.ParseError) as error:
        _say(f"client: {host}:{port}: {error or type(error).__name__}")
        return EXIT_FAILED
    return EXIT_OK
