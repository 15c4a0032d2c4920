"""Telling a PNG from something else, without decoding it: what a user made is not to be trusted."""

from __future__ import annotations

import struct
import zlib

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_LARGEST_SIDE = 16384
# Length, type and checksum of a chunk; the specification is ISO/IEC 15948.
_AROUND = 12
_HEADER_BYTES = 13


def size_of(data: bytes) -> tuple[int, int]:
    """Width and height in pixels.

    Raises:
        ValueError: it is no whole PNG with sound checksums, or one of absurd size.
    """
    if not data.startswith(_SIGNATURE):
        raise ValueError("it does not begin as a PNG")
    place, size, kind = len(_SIGNATURE), (0, 0), b""
    while kind != b"IEND":
        if place + _AROUND > len(data):
            raise ValueError("it ends too early")
        length, kind = struct.unpack_from(">I4s", data, place)
        end = place + _AROUND + length
        if end > len(data):
            raise ValueError("it ends too early")
        (checksum,) = struct.unpack_from(">I", data, end - 4)
        if zlib.crc32(memoryview(data)[place + 4 : end - 4]) != checksum:
            raise ValueError("a checksum in it is wrong")
        if (place == len(_SIGNATURE)) != (kind == b"IHDR"):
            raise ValueError("it has no header, or several")
        if kind == b"IHDR":
            size = struct.unpack_from(">II", data, place + 8)
            if length != _HEADER_BYTES or not all(0 < side <= _LARGEST_SIDE for side in size):
                raise ValueError("its header makes no sense")
        place = end
    if place != len(data):
        raise ValueError("something follows it")
    return size
