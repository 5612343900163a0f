"""What every dialect needs to put a request on the wire and to read what comes back."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from typing import Any

from copilot.providers.base import ModelMessage, Part, ProviderError, ToolCallPart, ToolResultPart

_NOT_ALLOWED = re.compile(r"[^a-zA-Z0-9_-]")
_MAX_NAME = 64


def clean_name(name: str, *, longest: int = _MAX_NAME) -> str:
    """Return ``name`` with the characters and the length that all providers accept.

    A name that is fine stays as it is. ``:`` separates the parts of our names and becomes ``__``; a name that
    had to be shortened ends in a digest, so that two long names stay apart.
    """
    cleaned = _NOT_ALLOWED.sub("_", name.replace(":", "__")) or "unnamed"
    return cleaned if len(cleaned) <= longest else f"{cleaned[: longest - 9]}_{digest(name)}"


def digest(text: str, size: int = 8) -> str:
    """Return ``size`` hexadecimal characters that stand for ``text``."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:size]


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


def object_schema(parameters: dict[str, Any]) -> dict[str, Any]:
    """Return a tool's parameters with the two fields without which some providers refuse a request."""
    return {"type": "object", "properties": {}, **parameters}


def fresh_call_id(given: str, taken: Collection[str]) -> str:
    """Return the id of a call: the provider's own, or one of ours where it gave none or one that is taken."""
    return given if given and given not in taken else f"call_{uuid.uuid4().hex[:24]}"


def with_distinct_calls(
    messages: Iterable[ModelMessage], fitting: Callable[[str], str] = lambda ident: ident
) -> list[ModelMessage]:
    """Return the messages with no id of a call used twice, and each result under its call's id.

    Some servers count their calls anew in each answer; others refuse an id that comes twice. The first keeps its
    own.

    Args:
        fitting: makes of an id one that the server accepts.
    """
    taken: set[str] = set()
    current: dict[str, str] = {}

    def distinct(ident: str) -> str:
        wire, number = fitting(ident), 1
        while wire in taken:
            number += 1
            wire = fitting(f"{ident}_{number}")
        taken.add(wire)
        current[ident] = wire
        return wire

    def renamed(part: Part) -> Part:
        if isinstance(part, ToolCallPart):
            wire = distinct(part.id)
        elif isinstance(part, ToolResultPart):
            wire = current.get(part.id) or fitting(part.id)
        else:
            return part
        return part if wire == part.id else replace(part, id=wire)

    return [
        message if message.role == "user" else replace(message, parts=tuple(map(renamed, message.parts)))
        for message in messages
    ]


def no_longer_than(longest: int) -> Callable[[str], str]:
    """Return what shortens an id of a call to ``longest`` characters."""
    return lambda ident: ident if len(ident) <= longest else f"call_{digest(ident)}"


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


def stated_cost(usage: dict[str, Any]) -> int | None:
    """Return the provider's own figure in microdollars.

    It comes as dollars, as an object with a total, or as ticks of 10^-10 dollars.
    """
    cost, unit = usage.get("cost"), Decimal(1_000_000)
    if isinstance(cost, dict):
        cost = cost.get("total_cost")
    if cost is None:
        cost, unit = usage.get("cost_in_usd_ticks"), Decimal("0.0001")
    if isinstance(cost, bool) or not isinstance(cost, int | float | str):
        return None
    try:
        micros = Decimal(str(cost)) * unit
        return int(micros.to_integral_value(rounding="ROUND_HALF_UP")) if 0 <= micros < 10**15 else None
    except InvalidOperation:
        return None
