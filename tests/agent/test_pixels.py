"""The size of a picture, from its header."""

from __future__ import annotations

import struct

import pytest

from copilot.pixels import longer_side
from tests.pictures import GIF, JPEG, PNG, WEBP, png

JPEG_HEAD = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"
TABLE = b"\xff\xc4\x00\x05abc"


def frame(width: int, height: int, marker: int = 0xC2) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">HBHH", 11, 8, height, width) + b"\x01\x01\x11\x00"


def webp(kind: bytes, body: bytes) -> bytes:
    return b"RIFF\x00\x00\x00\x00WEBP" + kind + b"\x00\x00\x00\x00" + body


@pytest.mark.parametrize(
    ("data", "kind", "side"),
    [
        pytest.param(png(9000, 20), "png", 9000, id="png"),
        pytest.param(png(20, 9000), "png", 9000, id="tall-png"),
        pytest.param(GIF, "gif", 1, id="gif"),
        pytest.param(b"GIF89a" + struct.pack("<HH", 640, 480), "gif", 640, id="large-gif"),
        pytest.param(JPEG_HEAD + TABLE + frame(300, 8001), "jpeg", 8001, id="progressive-jpeg"),
        pytest.param(JPEG_HEAD + b"\xff" + frame(301, 7, 0xC0), "jpeg", 301, id="filled-jpeg"),
        pytest.param(WEBP, "webp", 1, id="lossless-webp"),
        pytest.param(webp(b"VP8X", b"\x00" * 4 + b"\x3f\x1f\x00" + b"\x00\x00\x00"), "webp", 8000, id="webp"),
        pytest.param(
            webp(b"VP8 ", b"\x00\x00\x00\x9d\x01\x2a" + struct.pack("<HH", 33, 44)), "webp", 44, id="lossy-webp"
        ),
    ],
)
def test_the_longer_side(data: bytes, kind: str, side: int) -> None:
    assert longer_side(data, f"image/{kind}") == side


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        pytest.param(PNG[:18], "png", id="cut-png"),
        pytest.param(JPEG, "jpeg", id="jpeg-without-frame"),
        pytest.param(b"\xff\xd8\xff", "jpeg", id="cut-jpeg"),
        pytest.param(b"\xff\xd8\xff\xe0\x00\x00" * 3, "jpeg", id="odd-jpeg"),
        pytest.param(webp(b"XXXX", b""), "webp", id="odd-webp"),
        pytest.param(webp(b"VP8X", b""), "webp", id="cut-webp"),
        pytest.param(b"%PDF-", "pdf", id="no-picture"),
    ],
)
def test_a_header_that_does_not_say(data: bytes, kind: str) -> None:
    assert longer_side(data, f"image/{kind}") is None
