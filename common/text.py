"""Text that every database and every wire can carry."""

from __future__ import annotations

import math
from typing import Any

#: Levels of lists and objects in what models and tools say: nothing of use has nearly as many, and what is done to
#: them later follows a few hundred.
DEEPEST = 100


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


def storable_json(value: Any, *, depth: int = -1) -> Any:
    """Return a JSON value without what cannot be stored, at any depth; numbers that JSON lacks become text.

    Args:
        depth: levels of lists and objects that it may have; below 0: as many as Python can follow.

    Raises:
        RecursionError: it has more.
    """
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict | list | tuple) and not depth:
        raise RecursionError("nested too deeply")
    if isinstance(value, dict):
        return {storable(str(key)): storable_json(item, depth=depth - 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [storable_json(item, depth=depth - 1) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
