"""From a turn's events to what is shown of it in a chat."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Chunk = dict[str, Any]
TERMINAL = frozenset({"finish", "error", "abort"})


@dataclass(slots=True)
class _Part:
    """A piece of text, or a call that runs; ``seq`` is the event that opened it."""

    seq: int
    section: int
    id: str
    text: str = ""
    tool: str = ""


@dataclass
class Answer:
    """What a turn has said so far.

    It has a section for each stretch between messages of people and requests to decide: what follows one of these
    stands below it.
    """

    _parts: list[_Part] = field(default_factory=list)
    _section: int = 0

    def take(self, seq: int, chunk: Chunk) -> None:
        """Take one more event into account; unknown ones show nothing."""
        kind = chunk["type"]
        if kind == "text-start":
            self._parts.append(_Part(seq, self._section, chunk["id"]))
        elif kind == "text-delta":
            if part := self._find(chunk["id"]):
                part.text += chunk["delta"]
        elif kind == "tool-input-start" or (
            kind == "tool-input-available" and not self._find(chunk["toolCallId"])
        ):
            self._parts.append(_Part(seq, self._section, chunk["toolCallId"], tool=chunk["toolName"]))
        elif kind in ("tool-output-available", "tool-output-error", "tool-output-denied", "tool-input-error"):
            if not chunk.get("preliminary"):
                self._parts = [part for part in self._parts if not part.tool or part.id != chunk["toolCallId"]]
        elif kind == "data-rollback":
            self._parts = [part for part in self._parts if part.seq <= chunk["data"]["to_seq"]]
        elif kind in ("data-pending", "data-approval"):
            self._section += 1
        elif kind == "data-reset":
            self._reset(seq, chunk["data"]["parts"])

    def _find(self, part_id: str) -> _Part | None:
        return next((part for part in reversed(self._parts) if part.id == part_id), None)

    def _reset(self, seq: int, parts: list[Chunk]) -> None:
        texts = [part["text"] for part in parts if part["type"] == "text"]
        self._parts = [_Part(seq, self._section, f"reset{n}", text) for n, text in enumerate(texts)]

    @property
    def sections(self) -> list[str]:
        """The text, a section each; what the parts of a section say stands in paragraphs of its own."""
        texts = [""] * (self._section + 1)
        for part in self._parts:
            if part.text.strip():
                joint = "\n\n" if texts[part.section] else ""
                texts[part.section] = f"{texts[part.section].rstrip()}{joint}{part.text}"
        return texts

    @property
    def running(self) -> list[str]:
        """The names of the tools that run or wait."""
        return list(dict.fromkeys(part.tool for part in self._parts if part.tool))
