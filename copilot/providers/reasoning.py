"""The fields that servers of chat completions put reasoning in, to be shown and to be sent back."""

from __future__ import annotations

from typing import Any

#: In the order in which they are shown.
_TEXTS = ("reasoning", "reasoning_content")
FIELDS = frozenset((*_TEXTS, "reasoning_details"))
_SHOWN = {"reasoning.text": "text", "reasoning.summary": "summary"}


class ReasoningFields:
    """Reads the reasoning in the deltas of one answer.

    A server may say the same in several fields: ``reasoning`` is shown before ``reasoning_content`` and both
    before ``reasoning_details``. Details that are encrypted, or of kinds that nobody knows, are never shown;
    whatever they look like, they do not break an answer.
    """

    def __init__(self, *, keep: bool) -> None:
        self._keep = keep
        self._texts: dict[str, list[str]] = {}
        #: Each entry of the details, and the pieces of its text.
        self._details: list[tuple[dict[str, Any], list[str]]] = []

    def read(self, delta: dict[str, Any]) -> str:
        """Return what of a delta is to be shown."""
        shown = ""
        for name in _TEXTS:
            text = delta.get(name)
            if text and isinstance(text, str):
                shown = shown or text
                if self._keep:
                    self._texts.setdefault(name, []).append(text)
        details = delta.get("reasoning_details")
        if details and isinstance(details, list):
            entries = [entry for entry in details if isinstance(entry, dict)]
            shown = shown or "".join(map(_text, entries))
            if self._keep:
                for entry in entries:
                    self._collect(entry)
        return shown

    def fields(self) -> dict[str, Any]:
        """Return the fields of the message that takes the reasoning back, unchanged."""
        if self._details:
            return {"reasoning_details": [_whole(entry, pieces) for entry, pieces in self._details]}
        return {name: "".join(texts) for name, texts in self._texts.items()}

    def _collect(self, entry: dict[str, Any]) -> None:
        """Put the pieces of one entry together; text comes in pieces, anything else whole."""
        if self._details:
            last, pieces = self._details[-1]
            same = all(last.get(name) == entry.get(name) for name in ("type", "index"))
            ended = last.get("signature") and _text(entry)
            if same and not ended and entry.get("type") in _SHOWN:
                last.update({name: value for name, value in entry.items() if value is not None})
                pieces.append(_text(entry))
                return
        self._details.append((dict(entry), [_text(entry)]))


def _text(entry: dict[str, Any]) -> str:
    text = entry.get(_SHOWN.get(str(entry.get("type")), ""))
    return text if isinstance(text, str) else ""


def _whole(entry: dict[str, Any], pieces: list[str]) -> dict[str, Any]:
    name = _SHOWN.get(str(entry.get("type")))
    return {**entry, name: "".join(pieces)} if name and name in entry else entry
