"""Text that every database and every wire can carry."""

from __future__ import annotations

import math
from typing import Any


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


def storable_json(value: Any) -> Any:
    """Return a JSON value without what cannot be stored, at any depth; numbers that JSON lacks become text."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict):
        return {storable(str(key)): storable_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [storable_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
