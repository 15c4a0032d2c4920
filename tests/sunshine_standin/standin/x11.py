"""The X11 connection handshake, so that a display which cannot be opened is found to be so.

The byte layout is that of the X Window System Protocol, chapter 8 (connection setup); the authority
file is that of Xau(3).
"""

import os
import re
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

COOKIE = b"MIT-MAGIC-COOKIE-1"
FAMILY_LOCAL = 256
FAMILY_WILD = 65535
TIMEOUT_S = 5.0


class DisplayError(Exception):
    """Raised when the display named by the environment cannot be opened, with the reason."""


@dataclass(frozen=True)
class Screen:
    """Size of the first screen, in pixels."""

    width: int
    height: int


def _entries(data: bytes) -> Iterator[tuple[int, bytes, bytes, bytes, bytes]]:
    """Yield family, address, number, name and cookie of each entry of an authority file."""
    position = 0
    while position + 2 <= len(data):
        (family,) = struct.unpack_from(">H", data, position)
        position += 2
        parts: list[bytes] = []
        for _ in range(4):
            if position + 2 > len(data):
                return
            (length,) = struct.unpack_from(">H", data, position)
            parts.append(data[position + 2 : position + 2 + length])
            position += 2 + length
        yield family, parts[0], parts[1], parts[2], parts[3]


def _cookie(number: str) -> bytes:
    """Return the cookie for a local display, or nothing where no entry fits."""
    given = os.environ.get("XAUTHORITY")
    path = Path(given) if given else Path(os.environ.get("HOME", "/"), ".Xauthority")
    try:
        data = path.read_bytes()
    except OSError:
        return b""
    host = os.uname().nodename.encode()
    for family, address, display, name, cookie in _entries(data):
        fits = family == FAMILY_WILD or (family == FAMILY_LOCAL and address == host)
        if fits and display in {b"", number.encode()} and name == COOKIE:
            return cookie
    return b""


def _connect(host: str, number: str) -> socket.socket:
    if host not in {"", "unix"}:
        return socket.create_connection((host, 6000 + int(number)), TIMEOUT_S)
    # The abstract name first, then the path: the order of libxcb.
    path = f"/tmp/.X11-unix/X{number}"  # noqa: S108 - the protocol's own name
    last: OSError | None = None
    for address in ("\0" + path, path):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(TIMEOUT_S)
        try:
            connection.connect(address)
        except OSError as error:
            connection.close()
            last = error
        else:
            return connection
    raise last if last is not None else OSError("no address")


def _read(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise DisplayError("the X server closed the connection")
        data += part
    return data


def open_display() -> Screen:
    """Open the display of DISPLAY with the cookie of XAUTHORITY and close it again.

    Raises:
        DisplayError: when there is none, it does not answer, or it refuses us.
    """
    name = os.environ.get("DISPLAY", "")
    match = re.fullmatch(r"(?P<host>[^:]*):(?P<number>\d+)(\.\d+)?", name)
    if match is None:
        raise DisplayError(f"DISPLAY is {name!r}, which names no display")
    try:
        with _connect(match["host"], match["number"]) as connection:
            return _handshake(connection, _cookie(match["number"]))
    except OSError as error:
        raise DisplayError(f"{name}: {error.strerror or error}") from error


def _handshake(connection: socket.socket, cookie: bytes) -> Screen:
    name = COOKIE if cookie else b""
    padded = name + bytes(-len(name) % 4) + cookie + bytes(-len(cookie) % 4)
    connection.sendall(struct.pack("<BxHHHHxx", ord("l"), 11, 0, len(name), len(cookie)) + padded)
    status, reason_length, _, _, words = struct.unpack("<BBHHH", _read(connection, 8))
    body = _read(connection, words * 4)
    if status != 1:
        raise DisplayError(body[:reason_length].decode(errors="replace").strip() or "refused")
    (vendor_length,) = struct.unpack_from("<H", body, 16)
    formats = body[21]
    first_screen = 32 + vendor_length + (-vendor_length % 4) + 8 * formats
    width, height = struct.unpack_from("<HH", body, first_screen + 20)
    return Screen(width, height)
