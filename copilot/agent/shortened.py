"""Tool results of the present turn in short, when they take up too much of the model's window.

The older ones become a note, newer ones lose their middle. Rows and pages keep them whole; which ones are given in
short is in the turn's newest ``Compaction``, so whoever goes on with the turn reads the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from copilot.agent.history import StepView
from copilot.models import Compaction
from copilot.providers.base import ModelMessage, Part, ToolResultPart

#: Characters that a note gives of a result; up to twice as many are not worth a note.
PREVIEW = 200


@dataclass(frozen=True, slots=True)
class Shortened:
    """The results of steps up to ``noted`` are notes; those of later steps up to ``through`` have at most
    ``longest`` characters (0: as many as they have)."""

    noted: int = 0
    through: int = 0
    longest: int = 0

    @classmethod
    def of(cls, compaction: Compaction | None) -> Shortened:
        """Read it from the turn's newest compaction."""
        return cls() if compaction is None else cls(compaction.noted, compaction.through, compaction.longest)

    def apply(self, number: int, messages: Iterable[ModelMessage]) -> list[ModelMessage]:
        """Return the messages of one step as they are given."""
        if number <= self.noted:
            return [_with(message, _note) for message in messages]
        if self.longest and number <= self.through:
            return [_with(message, self._cut) for message in messages]
        return list(messages)

    def flatten(self, steps: Iterable[StepView]) -> list[ModelMessage]:
        """Return what a model reads of these steps; a message of the person's is never shortened."""
        return [message for step in steps for message in self.apply(step.number, step.messages) + step.followups]

    def _cut(self, output: str) -> str:
        return cut_middle(output, self.longest)


def cut_middle(text: str, most: int) -> str:
    """Return a text of about ``most`` characters at most: its beginning and its end."""
    if len(text) <= most:
        return text
    head, tail = most * 2 // 3, most // 3
    return f"{text[:head]}\n[{len(text) - head - tail:,} characters were left out to save room]\n{text[-tail:]}"


def _note(output: str) -> str:
    if len(output) <= 2 * PREVIEW:
        return output
    return (
        f"[This result of {len(output):,} characters was left out to save room. If you need it, make the call "
        f"again, if that does no harm. It began:]\n{output[:PREVIEW]}"
    )


def _with(message: ModelMessage, change: Callable[[str], str]) -> ModelMessage:
    parts: tuple[Part, ...] = tuple(
        replace(part, output=change(part.output)) if isinstance(part, ToolResultPart) else part
        for part in message.parts
    )
    return replace(message, parts=parts)
