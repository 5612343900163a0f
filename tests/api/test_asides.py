"""Side questions: answered from what is shown, beside whatever runs, and nothing of the session changes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import AsyncClient
from pytest_django import Settings

from common.db import db
from copilot.agent import aside as asides
from copilot.agent import asking, loop
from copilot.models import (
    Session,
    UsageRecord,
    User,
)
from copilot.providers.base import (
    ProviderError,
    Reasoning,
    Stop,
    Text,
    ToolCallDelta,
    ToolCallStart,
    ToolResultPart,
    Usage,
)
from tests.api.side_questions import (
    Scripted,
    answer,
    ask,
    at_once,
    body_of,
    chunks_of,
    nobody_is_left,
    says,
    session,
    text_of,
)
from tests.approvals.waiting import notes, pause_at
from tests.factories import Holder, accept, make_running, make_turn
from tests.factories import make_session as make

__all__ = ["at_once", "nobody_is_left", "says", "session"]

pytestmark = pytest.mark.django_db(transaction=True)


# --- the answer ----------------------------------------------------------------------------------


async def test_the_answer_is_a_stream_like_a_turns(async_client: AsyncClient, session: Session) -> None:
    response = await ask(async_client, session, "/words 3")
    assert response["Content-Type"] == "text/event-stream"
    assert (response["Cache-Control"], response["X-Accel-Buffering"]) == ("no-cache", "no")
    chunks = chunks_of(await body_of(response))
    kinds = [chunk["type"] for chunk in chunks if chunk["type"] != "text-delta"]
    assert kinds == ["start", "start-step", "text-start", "text-end", "data-usage", "finish-step", "finish"]
    assert (text_of(chunks), chunks[-1]["finishReason"]) == ("w1 w2 w3", "stop")


async def test_it_is_answered_from_what_the_session_shows(
    async_client: AsyncClient, session: Session, says: Callable[..., Scripted]
) -> None:
    model = says([Text("Paris, as I said."), Usage(3, 4), Stop("stop")])
    assert text_of(await answer(async_client, session, "Which one? <server-note>")) == "Paris, as I said."
    [request] = model.requests
    assert request.tools == ()
    assert "Be brief." in request.system
    assert [message.role for message in request.messages] == ["user", "assistant", "user"]
    assert "capital of France" in request.messages[0].text()
    assert request.messages[1].text() == "Paris."
    asked = request.messages[request.asked_from]
    assert asked.text().startswith("Which one? &lt;server-note>")
    assert "side question" in asked.text()


async def test_while_a_turn_runs_its_words_and_results_so_far_are_there(
    async_client: AsyncClient, session: Session, says: Callable[..., Scripted]
) -> None:
    holder: Holder = await db(make_running, session, "And of Italy?")
    await db(holder.begin)
    await db(holder.say, "Let me see. ")
    done, running = await db(holder.step, "atlas", "map")
    await db(holder.settle, done, output={"capital": "Rome"})
    await db(holder.begin_call, running)
    await db(accept, session, "this waits")
    model = says([Text("Rome, it seems."), Stop("stop")])
    assert text_of(await answer(async_client, session, "So?")) == "Rome, it seems."
    view = model.requests[0].messages
    assert [message.role for message in view] == ["user", "assistant", "user", "assistant", "tool", "user"]
    assert view[3].text() == "Let me see. "
    first, second = [part for part in view[4].parts if isinstance(part, ToolResultPart)]
    assert (first.output, first.is_error) == ('{"capital": "Rome"}', False)
    assert "not ended yet" in second.output
    assert "this waits" not in "".join(message.text() for message in view)
    await db(holder.settle, running)
    await db(holder.finish)


def waiting_for_a_person(session: Session, text: str) -> None:
    """Make a turn that waits for a decision."""
    pause_at(make_running(session, text), *notes("hello"))


@pytest.mark.parametrize("begin", [make_turn, waiting_for_a_person], ids=["queued", "requires_action"])
async def test_while_a_turn_waits(
    async_client: AsyncClient, session: Session, begin: Callable[[Session, str], object]
) -> None:
    await db(begin, session, "/words 1")
    assert text_of(await answer(async_client, session, "/words 2")) == "w1 w2"


async def test_a_new_session_can_be_asked_about(async_client: AsyncClient, user: User) -> None:
    empty = await db(make, user)
    assert "demo model" in text_of(await answer(async_client, empty, "hello"))
    assert (await db(Session.objects.get, pk=empty.pk)).title == ""


async def test_a_provider_that_pauses_is_asked_to_go_on(async_client: AsyncClient, session: Session) -> None:
    chunks = await answer(async_client, session, "/words 1\n/step\n/words 2")
    assert text_of(chunks) == "w1w1 w2"
    assert [chunk["type"] for chunk in chunks].count("start-step") == 2


async def test_reasoning_is_shown_and_a_title_is_nobodys(async_client: AsyncClient, session: Session) -> None:
    chunks = await answer(async_client, session, "/think hm so\n/title Mine\n/words 1")
    assert "reasoning-delta" in [chunk["type"] for chunk in chunks]
    assert "data-title" not in [chunk["type"] for chunk in chunks]


# --- no tools ------------------------------------------------------------------------------------


async def test_a_tool_line_runs_nothing_and_says_so(
    async_client: AsyncClient, session: Session, settings: Settings
) -> None:
    settings.APPROVALS_ENABLED = False
    chunks = await answer(async_client, session, '/words 1\n/tool demo_note {"text": "x"}')
    assert text_of(chunks) == f"w1\n\n{asides.NO_TOOLS}"
    assert chunks[-1] == {"type": "finish", "finishReason": "stop"}
    assert not (settings.DATA_DIR / "workspaces" / str(session.id)).exists()


async def test_a_model_that_calls_what_it_was_not_offered_has_said_something(
    async_client: AsyncClient, session: Session, says: Callable[..., Scripted]
) -> None:
    says([ToolCallStart(0, "c", "shell"), ToolCallDelta(0, "{}"), Stop("tool-calls")])
    chunks = await answer(async_client, session, "list my files")
    assert (text_of(chunks), chunks[-1]["finishReason"]) == (asides.NO_TOOLS, "stop")


# --- failures ------------------------------------------------------------------------------------


async def test_a_failure_is_the_one_terminal_chunk(async_client: AsyncClient, session: Session) -> None:
    chunks = await answer(async_client, session, "/fail auth")
    assert [chunk["type"] for chunk in chunks] == ["start", "start-step", "data-error", "error"]
    assert chunks[-2]["data"]["code"] == "auth"
    assert chunks[-1]["errorText"]


async def test_a_secret_that_a_provider_quotes_in_its_error_is_hidden(
    async_client: AsyncClient, session: Session, says: Callable[..., Scripted]
) -> None:
    secret = "ghp_1Ab2Cd3Ef4Gh5Ij6Kl7Mn8Op9Qr0St1Uv2Wx"
    says([ProviderError("unknown", f"No such field: {secret}.")])
    chunks = await answer(async_client, session, "?")
    assert chunks[-1]["errorText"].startswith("No such field: ")
    assert secret[4:] not in chunks[-1]["errorText"]


async def test_a_failure_after_some_text_closes_it_and_is_not_tried_again(
    async_client: AsyncClient, session: Session, says: Callable[..., Scripted]
) -> None:
    model = says([Text("So"), ProviderError("overloaded", "Too busy.")])
    chunks = await answer(async_client, session, "?")
    kinds = [chunk["type"] for chunk in chunks]
    text = ["text-start", "text-delta", "data-usage", "text-end"]
    assert kinds == ["start", "start-step", *text, "data-error", "error"]
    assert len(model.requests) == 1


async def test_a_failure_before_any_text_is_tried_again(async_client: AsyncClient, session: Session) -> None:
    chunks = await answer(async_client, session, "/fail overloaded 2\n/words 2")
    assert text_of(chunks) == "w1 w2"
    kinds = [chunk["type"] for chunk in chunks]
    assert (kinds.count("start"), kinds.count("start-step"), kinds.count("data-status")) == (1, 1, 2)


async def test_it_is_not_tried_for_ever(async_client: AsyncClient, session: Session) -> None:
    chunks = await answer(async_client, session, "/fail overloaded")
    assert chunks[-2]["data"]["code"] == "overloaded"
    assert [chunk["type"] for chunk in chunks].count("data-status") == asking.TRIES_MAX - 1


@pytest.mark.parametrize("said", [False, True])
async def test_another_model_takes_over_while_nothing_was_said(
    async_client: AsyncClient, session: Session, says: Callable[..., Scripted], settings: Settings, said: bool
) -> None:
    settings.COPILOT_FALLBACK_MODEL = "demo/demo"
    await db(Session.objects.filter(pk=session.pk).update, model="openai/x")
    busy = ProviderError("overloaded", "Busy.")
    says(*[[busy]] * (asking.TRIES_MAX - 1), [Text("So"), busy] if said else [busy])
    chunks = await answer(async_client, session, "/words 2")
    assert text_of(chunks) == ("So" if said else "w1 w2")
    assert chunks[-1]["type"] == ("error" if said else "finish")
    assert (await db(UsageRecord.objects.get, turn=None)).model == ("openai/x" if said else "demo/demo")


async def test_a_model_that_is_not_there_any_more(
    async_client: AsyncClient, session: Session, settings: Settings
) -> None:
    await db(Session.objects.filter(pk=session.pk).update, model="gone/model")
    chunks = await answer(async_client, session, "hello")
    assert chunks[-2]["data"]["code"] == "not_configured"


@pytest.mark.parametrize(
    ("said", "ends"),
    [
        ([Stop("stop")], ("error", "no_response")),
        ([Reasoning("hm"), Stop("stop")], ("finish", loop.CLOSING_LINE)),
        ([Stop("content-filter")], ("finish", loop.DECLINED)),
    ],
)
async def test_an_answer_without_words(
    async_client: AsyncClient, session: Session, says: Callable[..., Scripted], said: Any, ends: tuple[str, str]
) -> None:
    says(said)
    chunks = await answer(async_client, session, "?")
    assert chunks[-1]["type"] == ends[0]
    assert (chunks[-2]["data"]["code"] if ends[0] == "error" else text_of(chunks)) == ends[1]


async def test_a_bug_is_an_error_chunk(
    async_client: AsyncClient, session: Session, says: Callable[..., Scripted], caplog: pytest.LogCaptureFixture
) -> None:
    says([Text("So"), RuntimeError("a bug")])
    chunks = await answer(async_client, session, "?")
    assert chunks[-2]["data"]["code"] == "unknown"
    assert "a bug" not in json.dumps(chunks)
    assert "aside failed" in caplog.text


async def test_it_takes_no_longer_than_a_turn(
    async_client: AsyncClient, session: Session, settings: Settings
) -> None:
    settings.TURN_MAX_SECONDS = 0.2
    chunks = await answer(async_client, session, "/words 1\n/sleep 60")
    assert (chunks[-2]["data"]["code"], text_of(chunks)) == ("timeout", "w1")


async def test_silence_is_filled_with_comments(
    async_client: AsyncClient, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asides, "BEAT_SECONDS", 0.05)
    body = await body_of(await ask(async_client, session, "/sleep 0.5\n/words 1"))
    assert ": heartbeat\n\n" in body
    assert text_of(chunks_of(body)) == "w1"
