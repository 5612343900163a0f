"""Thoughts that a server leaves in the text of an answer, at its very beginning, between tags."""

from __future__ import annotations

from copilot.providers.base import Reasoning, Text

_TAGS = ("<think>", "<thinking>")


class InlineThinking:
    """Tells thoughts at the beginning of an answer from its text, however both are cut into pieces.

    Only what may be the beginning of a tag is held back. A tag further on is text: somebody writes about it.
    """

    __slots__ = ("_close", "_held", "_state", "over")

    def __init__(self) -> None:
        self._state = "start"
        self._held = ""
        self._close = ""
        #: All that follows is text.
        self.over = False

    def feed(self, delta: str) -> list[Text | Reasoning]:
        """Return what ``delta`` turned out to be, with what was held back before."""
        if self.over:
            return [Text(delta)]
        said = self._held + delta
        self._held = ""
        if self._state == "start":
            begun = said.lstrip()
            tag = next((tag for tag in _TAGS if begun.startswith(tag)), "")
            if not tag:
                if not begun or any(tag.startswith(begun) for tag in _TAGS):
                    self._held = said
                    return []
                self.over = True
                return [Text(said)]
            self._state, self._close = "thinking", f"</{tag[1:]}"
            said = begun[len(tag) :]
        parts: list[Text | Reasoning] = []
        if self._state == "thinking":
            thought, found, said = said.partition(self._close)
            if not found:
                keep = overlap(thought, self._close)
                thought, self._held = thought[: len(thought) - keep], thought[len(thought) - keep :]
            if thought:
                parts.append(Reasoning(thought))
            if not found:
                return parts
            self._state = "behind"
        # The blank line between thoughts and text belongs to neither.
        if said := said.lstrip():
            self.over = True
            parts.append(Text(said))
        return parts

    def rest(self) -> list[Text | Reasoning]:
        """Return what was held back, now that nothing follows."""
        held, self._held = self._held, ""
        if not held:
            return []
        return [Reasoning(held) if self._state == "thinking" else Text(held)]


def overlap(text: str, mark: str) -> int:
    """Return how many characters at the end of ``text`` may be the beginning of ``mark``."""
    longest = min(len(text), len(mark) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(mark[:size])), 0)
