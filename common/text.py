"""Text that every database and every wire can carry."""

from __future__ import annotations


def storable(text: str) -> str:
    """Return ``text`` without what cannot be stored: NUL characters go, lone surrogates become U+FFFD."""
    if text.isascii():
        return text.replace("\x00", "") if "\x00" in text else text
    if "\x00" in text:
        text = text.replace("\x00", "")
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
