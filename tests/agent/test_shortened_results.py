"""A turn whose tools say too much goes on: their results are given in short, and stay whole in rows and pages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from common.db import db
from copilot.agent.shortened import PREVIEW, cut_middle
from copilot.diagnostics import invariants
from copilot.models import Compaction, ToolCall, Turn
from copilot.providers.base import ModelRequest, ToolCallPart, ToolResultPart
from copilot.tools.base import Tool, ToolContext, object_schema
from tests.agent.summaries import Summaries, small, summaries
from tests.factories import answer_of
from tests.harness import Crew

__all__ = ["small", "summaries"]
pytestmark = pytest.mark.django_db(transaction=True)
LETTERS = 12_000


class Speech(Tool):
    """Says a great deal."""

    name = "speech"
    description = "Talk."
    parameters = object_schema([], letters={"type": "integer"})
    idempotent = True

    async def run(self, context: ToolContext, letters: int = LETTERS, **_: Any) -> Any:
        return "begin " + "x" * letters + " end"


def results(request: ModelRequest) -> list[str]:
    return [
        part.output for message in request.messages for part in message.parts if isinstance(part, ToolResultPart)
    ]


def all_calls_are_answered(request: ModelRequest) -> bool:
    """Whether each call has its result right behind it."""
    for place, message in enumerate(request.messages):
        calls = [part.id for part in message.parts if isinstance(part, ToolCallPart)]
        if calls:
            told = request.messages[place + 1].parts
            if [part.id for part in told if isinstance(part, ToolResultPart)] != calls:
                return False
    return True


async def talk(crew: Crew, calls: int, letters: int = LETTERS) -> Turn:
    """Have a tool called so many times, one after the other."""
    steps = "\n".join([f'/tool speech {{"letters": {letters}}}\n/think on'] * calls)
    return await crew.send(f"{steps}\n/words 3")


async def test_old_results_become_notes_and_new_ones_stay(
    crew: Crew, summaries: Summaries, small: Callable[..., None]
) -> None:
    small(16_000, Speech())
    await crew.hire()
    turn = await crew.ended(await talk(crew, 6))
    assert (turn.status, await db(invariants.check)) == ("completed", [])
    last = crew.requests[-1]
    assert len(results(last)) == 6
    assert "was left out to save room" in results(last)[0]
    assert len(results(last)[0]) < 3 * PREVIEW
    assert len(results(last)[-1]) > LETTERS
    assert all(all_calls_are_answered(request) for request in crew.requests)
    assert summaries.requests == [], "there was nothing before the question"
    assert all("/words 3" in request.messages[request.asked_from].text() for request in crew.requests)


async def test_rows_and_pages_keep_them_whole(
    crew: Crew, summaries: Summaries, small: Callable[..., None]
) -> None:
    small(16_000, Speech())
    await crew.hire()
    turn = await crew.ended(await talk(crew, 6))
    outputs = await db(lambda: list(ToolCall.objects.filter(turn=turn).values_list("output", flat=True)))
    assert {len(output) for output in outputs} == {LETTERS + 10}
    answer = await db(answer_of, turn)
    assert answer is not None
    kinds = [part["type"] for part in answer.parts]
    assert "data-compaction" in kinds
    assert {part["data"]["kind"] for part in answer.parts if part["type"] == "data-compaction"} == {"results"}
    shown = [part["output"] for part in answer.parts if part["type"] == "dynamic-tool"]
    assert shown == outputs


async def test_one_result_that_fills_the_window_loses_its_middle(
    crew: Crew, summaries: Summaries, small: Callable[..., None]
) -> None:
    small(6_000, Speech())
    await crew.hire()
    turn = await crew.ended(await talk(crew, 1, letters=60_000))
    assert turn.status == "completed"
    [told] = results(crew.requests[-1])
    assert told.startswith("begin")
    assert told.endswith("end")
    assert "characters were left out" in told
    assert len(told) <= 8_100


async def test_it_is_not_done_before_each_step(
    crew: Crew, summaries: Summaries, small: Callable[..., None]
) -> None:
    """Once there is room, steps go on until it is full again."""
    small(16_000, Speech())
    await crew.hire()
    turn = await crew.ended(await talk(crew, 9))
    made = await db(lambda: Compaction.objects.filter(turn=turn).count())
    assert 1 <= made <= 5


async def test_whoever_takes_over_reads_the_same(
    crew: Crew, summaries: Summaries, small: Callable[..., None]
) -> None:
    small(16_000, Speech())
    here = await crew.hire()
    steps = "\n".join(["/tool speech\n/think on"] * 5)
    turn = await crew.send(f"{steps}\n/words 200 30")
    await crew.until(turn, "text-delta")
    before = crew.requests[-1]
    await crew.lose(here)
    await crew.hire()
    await crew.recover(turn)
    ended = await crew.ended(turn)
    assert (ended.status, await db(invariants.check)) == ("completed", [])
    assert crew.requests[-1].messages == before.messages
    assert await db(lambda: Compaction.objects.filter(turn=turn).exists())


@pytest.mark.parametrize(("length", "most"), [(10, 10), (11, 10), (1000, 10), (5, 300)])
def test_a_text_that_loses_its_middle_keeps_both_ends(length: int, most: int) -> None:
    text = "".join(chr(ord("a") + n % 26) for n in range(length))
    cut = cut_middle(text, most)
    if length <= most:
        assert cut == text
    else:
        assert cut[:3] == text[:3]
        assert cut[-3:] == text[-3:]
        assert len(cut.replace("\n", "")) < most + 60
