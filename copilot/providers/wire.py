"""What every dialect needs to put a request on the wire and to read what comes back."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from typing import Any

from copilot.providers.base import ProviderError

_NOT_ALLOWED = re.compile(r"[^a-zA-Z0-9_-]")
_MAX_NAME = 64


def clean_name(name: str, *, longest: int = _MAX_NAME) -> str:
    """Return ``name`` with the characters and the length that all providers accept.

    A name that is fine stays as it is. ``:`` separates the parts of our names and becomes ``__``; a name that
    had to be shortened ends in a digest, so that two long names stay apart.
    """
    cleaned = _NOT_ALLOWED.sub("_", name.replace(":", "__")) or "unnamed"
    return cleaned if len(cleaned) <= longest else f"{cleaned[: longest - 9]}_{digest(name)}"


def digest(text: str) -> str:
    """Return eight hexadecimal characters that stand for ``text``."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:8]


class ToolNames:
    """The names of one request's tools, as we call them and as they are on the wire."""

    def __init__(self, names: Iterable[str]) -> None:
        self._original: dict[str, str] = {}
        self._wire: dict[str, str] = {}
        for name in names:
            wire = clean_name(name)
            if self._original.get(wire, name) != name:
                wire = clean_name(f"{wire[: _MAX_NAME - 9]}_{digest(name)}")
            self._original[wire] = name
            self._wire[name] = wire

    def wire(self, name: str) -> str:
        """Return the name to send for ``name``, which may be one that is no longer offered."""
        return self._wire.get(name) or clean_name(name)

    def original(self, wire: str) -> str:
        """Return our name of the tool that the model called; an unknown one stays as it came."""
        return self._original.get(wire, wire)


def dump(value: Any) -> str:
    """Return ``value`` as compact JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def load_object(text: str) -> dict[str, Any]:
    """Return the JSON object in one event.

    Raises:
        ProviderError: ``network``: what arrived is not a JSON object, so the stream is broken.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise broken_stream() from error
    if not isinstance(value, dict):
        raise broken_stream()
    return value


def is_object(text: str) -> bool:
    """Tell whether ``text`` is a whole JSON object; nothing at all counts, as no arguments."""
    if not text.strip():
        return True
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def broken_stream() -> ProviderError:
    """Return the error for an answer that arrived damaged."""
    return ProviderError("network", "The provider's answer arrived damaged.", hint="Try again.")


def cut_stream() -> ProviderError:
    """Return the error for an answer that stopped before its end."""
    return ProviderError(
        "network", "The connection to the provider ended in the middle of the answer.", hint="Try again."
    )


def count(value: Any) -> int:
    """Return a token count from a provider's usage object; anything odd is 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e15:
        return 0
    return int(value)
