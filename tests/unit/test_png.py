"""What is a PNG, and what only looks like one."""

from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moonlight_core.png import size_of


def chunk(kind: bytes, content: bytes) -> bytes:
    """As the specification has it."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(
        ">I", zlib.crc32(kind + content)
    )  # fmt: skip


def picture(width: int = 2, height: int = 1) -> bytes:
    """A small picture."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    lines = zlib.compress(b"\0" + b"\x40" * 3 * width)
    return b"".join(
        (b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header), chunk(b"IDAT", lines), chunk(b"IEND", b""))
    )


def test_a_picture_tells_its_size() -> None:
    """Width first."""
    assert size_of(picture(640, 480)) == (640, 480)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<html>",
        b"\x89PNG\r\n\x1a\n",
        picture()[:-1],
        picture() + b"x",
        picture() + picture(),
        picture().replace(b"\x08\x02", b"\x08\x03"),
        picture(0, 5),
        picture(100_000, 5),
        picture()[:8] + chunk(b"IEND", b""),
        picture()[:8] + chunk(b"IHDR", b"\0" * 4) + chunk(b"IEND", b""),
        picture()[:33] + picture()[8:],
        picture()[:8] + struct.pack(">I", 0xFFFFFFFF) + b"IHDR" + b"\0" * 40,
    ],
)
def test_what_is_none(data: bytes) -> None:
    """Cut off, longer than it says, wrong inside, of absurd size."""
    with pytest.raises(ValueError, match=r"^(it|its|a|something) "):
        size_of(data)


@given(st.binary(max_size=200), st.integers(0, 60))
def test_anything_is_survived(noise: bytes, place: int) -> None:
    """A size or a ValueError."""
    data = picture()[:place] + noise
    try:
        size_of(data)
    except ValueError:
        return
    assert data == picture()
