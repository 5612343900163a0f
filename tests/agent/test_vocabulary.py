"""Every chunk of a turn is one that AI SDK front ends understand: known types, known fields, nothing null."""

from __future__ import annotations

from typing import Any

import pytest
from pytest_django import Settings

from common.db import db
from copilot.turns.cancel import cancel_turn
from tests.factories import events_of, make_session
from tests.harness import Crew

pytestmark = pytest.mark.django_db(transaction=True)

#: Fields beside ``type`` of the UI message stream of ``ai`` 6 and 7: those that must be there, and those that may.
FIELDS: dict[str, tuple[str, str]] = {
    "start": ("", "messageId messageMetadata"),
    "start-step": ("", ""),
    "finish-step": ("", ""),
    "text-start": ("id", ""),
    "text-delta": ("id delta", ""),
    "text-end": ("id", ""),
    "reasoning-start": ("id", ""),
    "reasoning-delta": ("id delta", ""),
    "reasoning-end": ("id", ""),
    "tool-input-start": ("toolCallId toolName", "dynamic title"),
    "tool-input-delta": ("toolCallId inputTextDelta", ""),
    "tool-input-available": ("toolCallId toolName input", "dynamic title"),
    "tool-input-error": ("toolCallId toolName input errorText", "dynamic title"),
    "tool-output-available": ("toolCallId output", "dynamic preliminary"),
    "tool-output-error": ("toolCallId errorText", "dynamic"),
    "tool-output-denied": ("toolCallId", "reason"),  # the reason is ours
    "finish": ("", "finishReason messageMetadata"),
    "error": ("errorText", ""),
    "abort": ("", "reason"),
}
TURNS = (
    '/think hmm\n/words 3\n/tool calculator {"expression": "1"}\n/tool demo_boom\n/results',
    '/tool demo_wait {"seconds": 0.1}\n/tool nothing\n/words 1',
    "/faillate overloaded 1\n/words 1",
    "/fail auth",
    "/tool current_time\n/empty",
    "/title A name\n/words 1",
)


def problems(chunk: dict[str, Any]) -> list[str]:
    """Return what is wrong with a chunk."""
    kind = chunk["type"]
    if kind.startswith("data-"):
        needed, allowed = {"data"}, {"data", "id", "transient"}
    elif kind in FIELDS:
        needed = set(FIELDS[kind][0].split())
        allowed = needed | set(FIELDS[kind][1].split())
    else:
        return ["has an unknown type"]
    fields = chunk.keys() - {"type"}
    found = [f"lacks {name}" for name in needed - fields] + [f"has {name}" for name in fields - allowed]
    # What a tool returns is the tool's own affair.
    return found + [f"{name} is null" for name in fields - {"output"} if chunk[name] is None]


@pytest.mark.parametrize("words", TURNS)
async def test_a_turn_speaks_the_vocabulary(crew: Crew, settings: Settings, words: str) -> None:
    settings.APPROVALS_ENABLED = True
    await crew.hire()
    turn = await crew.say(words, await db(make_session))
    for seq, chunk in await db(events_of, turn):
        assert problems(chunk) == [], f"{seq}: {chunk}"


async def test_a_turn_that_is_recovered_and_stopped_speaks_it_too(crew: Crew) -> None:
    first = await crew.hire()
    turn = await crew.send('/words 2\n/tool demo_wait {"seconds": 60}\n/words 1')
    await crew.until(turn, "tool-output-available")
    await crew.hire()
    await crew.lose(first)
    await crew.recover(turn)
    await crew.until(turn, "data-status")
    await cancel_turn(user=turn.session.user, turn_id=turn.id)
    await crew.ended(turn)
    for seq, chunk in await db(events_of, turn):
        assert problems(chunk) == [], f"{seq}: {chunk}"


def test_what_is_wrong_is_noticed() -> None:
    assert problems({"type": "text-delta", "id": "t"}) == ["lacks delta"]
    assert problems({"type": "text-end", "id": "t", "seq": 1}) == ["has seq"]
    assert problems({"type": "error", "errorText": None}) == ["errorText is null"]
    assert problems({"type": "text"}) == ["has an unknown type"]
