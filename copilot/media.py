"""What a file is, by its own bytes: never by its name, nor by what its sender says of it."""

from __future__ import annotations

import codecs

#: Bytes from the beginning of a file that tell what it is.
HEAD = 8192
TEXT = "text/plain"
UNKNOWN = "application/octet-stream"
#: Pictures that browsers show and models see. SVG is none: it is a document that can hold scripts.
IMAGES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
#: What a browser may show instead of saving it.
INLINE = IMAGES | {"application/pdf"}

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"%PDF-", "application/pdf"),
)
#: Control characters that texts have: backspace to carriage return, and escape, as in the output of programs.
_IN_TEXTS = frozenset("\b\t\n\v\f\r\x1b")


def sniff(head: bytes) -> str:
    """Return the media type of a file that begins with ``head``: all of it, or its first ``HEAD`` bytes.

    Everything in UTF-8 is ``text/plain``, HTML and SVG too; what is nothing known is ``UNKNOWN``.
    """
    for magic, media_type in _MAGIC:
        if head.startswith(magic):
            return media_type
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    return TEXT if _is_text(head) else UNKNOWN


def _is_text(head: bytes) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        text = decoder.decode(head[:HEAD], final=len(head) < HEAD)
    except UnicodeDecodeError:
        return False
    return bool(text) and not any((char < " " or char == "\x7f") and char not in _IN_TEXTS for char in text)
