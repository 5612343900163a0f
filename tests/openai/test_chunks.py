"""What a stream says of the events of a turn, one by one."""

from __future__ import annotations

from typing import Any

from chat.openai.answer import BEGINS_AGAIN, Chunks
from copilot.events import schema
from tests.openai.conftest import text_of

TURN = {"id": "t", "created_at": "2026-01-05T09:31:10.002000Z", "model": "demo/demo"}


def said(*events: schema.Chunk) -> str:
    chunks = Chunks(TURN, usage=False)
    told: list[dict[str, Any]] = [one for seq, each in enumerate(events, 1) for one in chunks.take(seq, each)]
    return text_of(told)


def part(name: str, *deltas: str) -> list[schema.Chunk]:
    inside = [schema.part_delta("text", name, delta) for delta in deltas]
    return [schema.part_start("text", name), *inside, schema.part_end("text", name)]


def test_texts_stand_apart_and_empty_ones_do_not_count() -> None:
    assert said(*part("1"), *part("2", "a", "b"), *part("3"), *part("4", "c")) == "ab\n\nc"


def test_what_stands_is_not_taken_back() -> None:
    first = part("1", "a")
    assert said(*first, schema.rollback(len(first)), *part("2", "b")) == "a\n\nb"


def test_what_does_not_stand_is_told_once() -> None:
    first = part("1", "a")
    gone = part("2", "b")
    taken = schema.rollback(len(first))
    assert said(*first, *gone, taken, taken, *part("3", "c")) == f"a\n\nb{BEGINS_AGAIN}c"


def test_nothing_is_told_of_what_was_never_said() -> None:
    assert said(schema.part_start("text", "1"), schema.rollback(0), *part("2", "b")) == "b"


def test_a_pruned_log_has_the_stored_answer() -> None:
    parts = [{"type": "step-start"}, {"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert said(schema.data("reset", {"parts": parts})) == "a\n\nb"
