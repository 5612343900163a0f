"""A secret that a model says is shown to nobody and stands in no row; the model gets its words back exactly."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from pytest_django import Settings

from common.db import db
from common.redaction import redact_text
from copilot.agent import step
from copilot.agent.history import step_messages
from copilot.agent.step import Answer, StepStream
from copilot.models import Message, Session, Step, TurnEvent
from copilot.providers.base import (
    ModelRequest,
    ProviderError,
    Reasoning,
    ReasoningPart,
    Stop,
    StreamPart,
    Text,
    TextPart,
    TitleHint,
    ToolCallStart,
)
from copilot.providers.demo import DemoProvider
from copilot.turns.begin import title_from
from tests.factories import answer_of, make_session
from tests.harness import Crew

BODY = "Zx8Qm2Lr5Tn7Vb1Wc4Yd6Ke9Pf3Hg0"
SECRET = f"hf_{BODY}"
PIECES = ["The key", " is hf", "_Zx8Qm2Lr5T", "n7Vb1Wc4Yd6Ke9", "Pf3Hg0", " now", "."]
SAID = "".join(PIECES)

Wait = Callable[[], Any]


class Said:
    """What an answer shows."""

    def __init__(self) -> None:
        self.title = ""
        self.chunks: list[dict[str, Any]] = []

    def emit(self, chunk: dict[str, Any]) -> None:
        self.chunks.append(chunk)

    def send_transient(self, chunk: dict[str, Any]) -> None:
        pass

    def new_part(self, kind: str) -> str:
        return kind

    def note_first_chunk(self, created_at: datetime) -> None:
        pass

    def text(self, kind: str = "text") -> str:
        return "".join(chunk["delta"] for chunk in self.chunks if chunk["type"] == f"{kind}-delta")


class Model:
    """Says these parts; a function among them is waited for."""

    def __init__(self, *parts: StreamPart | Wait) -> None:
        self._parts = parts

    async def stream(self, request: ModelRequest) -> AsyncIterator[StreamPart]:
        for part in self._parts:
            if callable(part):
                await part()
            else:
                yield part


async def ask(*parts: StreamPart | Wait) -> tuple[Answer, Said]:
    said = Said()
    request = ModelRequest(model="x", system="", messages=())
    stream = StepStream(said, datetime.now(UTC))
    return await stream.run(Model(*parts, Stop("stop")), request, idle_seconds=5), said


def exactly(answer: Answer) -> list[Any]:
    """What the model gets back of its answer."""
    return [part for message in step_messages(answer.step.content, []) for part in message.parts]


async def test_a_secret_is_not_shown_and_goes_back_exactly() -> None:
    answer, said = await ask(*map(Text, PIECES))

    assert said.text() == redact_text(SAID) != SAID
    assert BODY[:8] not in json.dumps(answer.step.content)
    assert exactly(answer) == [TextPart(SAID)]


async def test_what_holds_no_secret_is_kept_as_it_is() -> None:
    answer, said = await ask(Text("The task"), Text(" is done."))

    assert said.text() == "The task is done."
    assert answer.step.content == [{"type": "text", "text": "The task is done."}]


async def test_signed_reasoning_goes_back_exactly() -> None:
    signed = {"signature": "c2lnbmVk", "note": f"password={BODY}"}
    answer, said = await ask(*map(Reasoning, PIECES), Reasoning("", extra=signed), Text("Done."))

    assert BODY[:8] not in json.dumps([answer.step.content, said.chunks])
    assert exactly(answer) == [ReasoningPart(SAID, signed), TextPart("Done.")]


async def test_what_only_the_provider_understands_keeps_its_place_between_the_texts() -> None:
    block = {"block": {"type": "server_tool_use", "input": {"query": "a\x00b"}}}
    answer, said = await ask(Text("One."), Reasoning("", extra=block), Text("Two."))

    assert said.text() == "One.Two."
    first, between, second = exactly(answer)
    assert (first, second) == (TextPart("One."), TextPart("Two."))
    assert between.extra["block"]["type"] == "server_tool_use"
    assert "\x00" not in between.extra["block"]["input"]["query"]


async def test_reasoning_that_cannot_be_opened_any_more_does_not_go_back(settings: Settings) -> None:
    answer, _ = await ask(*map(Reasoning, PIECES), Reasoning("", extra={"signature": "x"}), *map(Text, PIECES))
    settings.SECRET_KEY = "another " * 8

    assert exactly(answer) == [TextPart(answer.step.content[1]["text"])]


async def test_what_is_held_back_is_shown_before_a_call_begins() -> None:
    _, said = await ask(Text("See sk-learn"), ToolCallStart(0, "1", "shell"))

    assert [chunk["type"] for chunk in said.chunks[1:]] == [
        "text-start", "text-delta", "text-delta", "text-end", "tool-input-start",
    ]  # fmt: skip
    assert said.text() == "See sk-learn"


async def test_what_is_held_back_is_shown_when_the_answer_breaks_off() -> None:
    said = Said()

    async def fail() -> None:
        raise ProviderError("network", "It is gone.")

    with pytest.raises(ProviderError):
        await StepStream(said, datetime.now(UTC)).run(
            Model(Text("See sk-learn"), fail), ModelRequest(model="x", system="", messages=()), idle_seconds=5
        )
    assert said.text() == "See sk-learn"


async def test_what_is_held_back_is_shown_when_nothing_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "HOLD_SECONDS", 0)
    said = Said()
    seen: list[str] = []

    async def look() -> None:
        for _ in range(3):
            await asyncio.sleep(0)
        seen.append(said.text())

    stream = StepStream(said, datetime.now(UTC))
    model = Model(Text("See sk-"), Text("learn"), look, Text("ing it."), Stop("stop"))
    await stream.run(model, ModelRequest(model="x", system="", messages=()), idle_seconds=5)

    assert seen == ["See sk-learn"]
    assert said.text() == "See sk-learning it."


async def test_a_title_that_a_model_gives_holds_no_secret() -> None:
    _, said = await ask(TitleHint(f"About {SECRET}"))

    assert said.title == redact_text(f"About {SECRET}")


def test_a_title_made_from_a_message_holds_no_secret() -> None:
    assert BODY[:8] not in title_from(f"\n use {SECRET} for it")


@pytest.mark.django_db(transaction=True)
async def test_no_row_of_a_turn_holds_what_a_model_said_of_a_secret(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stream(self: DemoProvider, request: ModelRequest) -> AsyncIterator[StreamPart]:
        for part in (*map(Reasoning, PIECES), *map(Text, PIECES), Stop("stop")):
            yield part

    monkeypatch.setattr(DemoProvider, "stream", stream)
    await crew.hire()
    session = await db(make_session)
    turn = await crew.say("What is the key?", session)

    def rows() -> str:
        return json.dumps(
            [
                list(TurnEvent.objects.filter(turn=turn).values_list("chunk", flat=True)),
                list(Step.objects.filter(turn=turn).values_list("content", flat=True)),
                list(Message.objects.filter(session=session).values_list("parts", flat=True)),
                list(Session.objects.filter(pk=session.pk).values_list("title", flat=True)),
            ]
        )

    assert turn.status == "completed"
    assert BODY[:8] not in await db(rows)
    answer = await db(answer_of, turn)
    assert answer is not None
    assert answer.parts[-1]["text"] == redact_text(SAID)
