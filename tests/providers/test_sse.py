"""The decoder gives the same events however the bytes are cut."""

from __future__ import annotations

import pytest

from copilot.providers.sse import SSEDecoder
from tests.providers.server import split


def decode(body: bytes, size: int) -> list[tuple[str, str]]:
    decoder = SSEDecoder()
    events = [event for piece in split(body, size) for event in decoder.feed(piece)]
    return events + decoder.close()


@pytest.mark.parametrize("size", [0, 1, 2, 3, 7, 17])
@pytest.mark.parametrize(
    ("body", "events"),
    [
        pytest.param(b"data: a\n\ndata: b\n\n", [("", "a"), ("", "b")], id="plain"),
        pytest.param(b"event: x\ndata: a\n\ndata: b\n\n", [("x", "a"), ("", "b")], id="name before"),
        pytest.param(b"data: a\nevent: x\n\n", [("x", "a")], id="name after"),
        pytest.param(b"data: a\ndata:\ndata: b\n\n", [("", "a\n\nb")], id="many lines"),
        pytest.param(b"data:a\n\ndata:  b\n\n", [("", "a"), ("", " b")], id="blank after the colon"),
        pytest.param(b"data: a\r\n\r\ndata: b\r\n\r\n", [("", "a"), ("", "b")], id="CRLF"),
        pytest.param(b"data: a\r\rdata: b\r\r", [("", "a"), ("", "b")], id="CR"),
        pytest.param(b": hello\n\n: again\ndata: a\n\n", [("", "a")], id="comments"),
        pytest.param(b"id: 1\nretry: 5\nnonsense\ndata: a\n\n", [("", "a")], id="other fields"),
        pytest.param(b"event: x\n\ndata: a\n\n", [("", "a")], id="event without data"),
        pytest.param(b"\n\n  data: a\n\n", [("", "a")], id="leading blanks"),
        pytest.param("data: Zürich 🌧\n\n".encode(), [("", "Zürich 🌧")], id="multi-byte"),
        pytest.param("data: a\u2028b\x85c\n\n".encode(), [("", "a\u2028b\x85c")], id="only real line ends"),
        pytest.param(b"data: a\n\ndata: b", [("", "a"), ("", "b")], id="no last line end"),
        pytest.param(b"", [], id="nothing"),
    ],
)
def test_decodes_events(body: bytes, events: list[tuple[str, str]], size: int) -> None:
    assert decode(body, size) == events


def test_ignores_a_byte_order_mark() -> None:
    assert decode(b"\xef\xbb\xbfdata: a\n\n", 0) == [("", "a")]


def test_bytes_that_are_no_text_do_not_stop_the_stream() -> None:
    assert decode(b"data: \xff!\n\n", 0) == [("", "\ufffd!")]


def test_a_line_without_end_does_not_fill_the_memory() -> None:
    decoder = SSEDecoder()
    decoder.feed(b"x" * 16_000_000)
    with pytest.raises(ValueError):
        decoder.feed(b"x" * 1_000_000)
