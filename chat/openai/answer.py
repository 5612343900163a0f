"""A turn as a chat completion: whole, or chunk by chunk. What tools did is not told: they ran here."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from copilot.events.schema import Chunk

Json = dict[str, Any]

#: Between two texts of one answer: tools ran, or the agent thought.
BETWEEN = "\n\n"
#: Stands where something was said that does not count any more: nobody can take it back from the client.
BEGINS_AGAIN = "\n\n[The answer was cut off here and begins again.]\n\n"
#: The finish reasons that OpenAI's API has too; any other is ``stop``.
_REASONS = {"length": "length", "content-filter": "content_filter"}
#: Where each kind of part goes; ``reasoning_content`` is what other servers of this API call it.
_FIELDS = {"text": "content", "reasoning": "reasoning_content"}


def finish_reason(reason: str) -> str:
    """Return OpenAI's word for a finish reason of ours."""
    return _REASONS.get(reason, "stop")


def usage_object(usage: Json) -> Json:
    """Return what a turn used, over all its model calls, in OpenAI's form."""
    read, said = usage["input_tokens"], usage["output_tokens"]
    return {
        "prompt_tokens": read,
        "completion_tokens": said,
        "total_tokens": read + said,
        "prompt_tokens_details": {"cached_tokens": usage["cache_read_tokens"]},
        "completion_tokens_details": {"reasoning_tokens": usage["reasoning_tokens"]},
    }


def said_in(parts: Iterable[Json]) -> Json:
    """Return ``content``, and ``reasoning_content`` if there was any thinking, of the parts of messages."""
    texts: dict[str, list[str]] = {"text": [], "reasoning": []}
    for part in parts:
        if part["type"] in texts and part["text"]:
            texts[part["type"]].append(part["text"])
    said = {"content": BETWEEN.join(texts["text"])}
    return said | ({"reasoning_content": BETWEEN.join(texts["reasoning"])} if texts["reasoning"] else {})


def completion_object(turn: Json, parts: Iterable[Json], reason: str) -> Json:
    """Return a whole answer.

    Args:
        turn: the turn object of a completed turn.
        parts: of all messages that it wrote.
        reason: its finish reason.
    """
    return {
        **_head(turn, "chat.completion"),
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", **said_in(parts), "refusal": None},
                "finish_reason": finish_reason(reason),
                "logprobs": None,
            }
        ],
        "usage": usage_object(turn["usage"]),
    }


def _head(turn: Json, kind: str) -> Json:
    created = int(datetime.fromisoformat(turn["created_at"]).timestamp())
    return {"id": f"chatcmpl-{turn['id']}", "object": kind, "created": created, "model": turn["model"]}


class Chunks:
    """The chunks of one streamed answer.

    Args:
        turn: the turn object, as the turn began.
        usage: a chunk of its own tells the usage at the end; all others say that it is not known yet.
    """

    def __init__(self, turn: Json, *, usage: bool) -> None:
        self._head = _head(turn, "chat.completion.chunk") | ({"usage": None} if usage else {})
        self._usage = usage
        #: The seq at which each part of text that was said began, by the part's id.
        self._said: dict[str, int] = {}
        self._began: dict[str, int] = {}
        self._separate: dict[str, bool] = {"text": False, "reasoning": False}

    def first(self) -> Json:
        """Return the chunk that comes before all others."""
        return self._chunk({"role": "assistant", "content": ""})

    def take(self, seq: int | None, chunk: Chunk) -> list[Json]:
        """Return what a chunk of the turn has to say here: most have nothing."""
        kind, _, what = chunk["type"].rpartition("-")
        if kind in _FIELDS and what == "start":
            self._began[chunk["id"]] = seq or 0
        elif kind in _FIELDS and what == "delta" and chunk["delta"]:
            return [self._delta(kind, chunk["id"], chunk["delta"])]
        elif kind in _FIELDS and what == "end":
            self._separate[kind] |= chunk["id"] in self._said
        elif chunk["type"] == "data-rollback":
            return self._take_back(chunk["data"]["to_seq"])
        elif chunk["type"] == "data-reset":
            said = said_in(chunk["data"]["parts"])
            return [self._chunk(said)] if any(said.values()) else []
        return []

    def last(self, turn: Json, reason: str) -> list[Json]:
        """Return what comes after everything that was said.

        Args:
            turn: the turn object of the completed turn; its model may be another one by now.
            reason: its finish reason.
        """
        self._head["model"] = turn["model"]
        chunks = [self._chunk({}, finish_reason(reason))]
        if self._usage:
            chunks.append({**self._head, "choices": [], "usage": usage_object(turn["usage"])})
        return chunks

    def _delta(self, kind: str, part: str, delta: str) -> Json:
        if part not in self._said:
            self._said[part] = self._began.get(part, 0)
            delta = BETWEEN + delta if self._separate[kind] else delta
        return self._chunk({_FIELDS[kind]: delta})

    def _take_back(self, to_seq: int) -> list[Json]:
        gone = {part for part, began in self._said.items() if began > to_seq}
        if not gone:
            return []
        self._said = {part: began for part, began in self._said.items() if part not in gone}
        self._separate = dict.fromkeys(self._separate, False)
        return [self._chunk({"content": BEGINS_AGAIN})]

    def _chunk(self, delta: Json, reason: str | None = None) -> Json:
        return {**self._head, "choices": [{"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}]}
