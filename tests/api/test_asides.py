"""Side questions: answered from what is shown, beside whatever runs, and nothing of the session changes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from django.db import OperationalError
from django.test import AsyncClient
from pytest_django import Settings

from common.db import db
from copilot.agent import aside as asides
from copilot.agent import loop
from copilot.diagnostics import invariants
from copilot.events.fold import Transcript
from copilot.models import (
    Message,
    SendRate,
    Session,
    Step,
    ToolCall,
    Turn,
    TurnEvent,
    TurnLog,
    UsageRecord,
    User,
)
from copilot.providers.base import (
    ModelRequest,
    ProviderError,
    Reasoning,
    Stop,
    StreamPart,
    Text,
    ToolCallDelta,
    ToolCallStart,
    ToolResultPart,
    Usage,
)
from copilot.providers.pricing import Cost
from copilot.turns.asides import record_aside
from copilot.turns.sessions import delete_session
from tests.factories import Holder, accept, hold, make_running, make_turn
from tests.factories import make_session as make

pytestmark = pytest.mark.django_db(transaction=True)

PATIENCE = 20.0
#: Everything that a session consists of.
TABLES = (Session, Message, Turn, Step, ToolCall, TurnEvent, TurnLog)


@pytest.fixture
def session(user: User) -> Session:
    """A session with a question and its answer."""
    made = make(user, instructions="Be brief.")
    make_running(made, "What is the capital of France?").answer("Paris.")
    made.refresh_from_db()
    return made


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again without waiting."""
    monkeypatch.setattr(loop, "BACKOFF_SECONDS", 0.0)


@pytest.fixture(autouse=True)
async def nobody_is_left(at_once: None) -> AsyncIterator[None]:
    """However an answer ended, its person's place is free again."""
    asides._under_way.clear()
    yield
    await no_place_taken()


async def no_place_taken() -> None:
    """Wait until no answer is under way."""
    async with asyncio.timeout(PATIENCE):
        while asides._under_way:  # noqa: ASYNC110 - there is nothing that tells of it
            await asyncio.sleep(0.01)


class Scripted:
    """A model that says what it is told; ``requests`` has what it was asked."""

    def __init__(self, *answers: list[StreamPart | Exception | float]) -> None:
        self._answers: Iterator[list[StreamPart | Exception | float]] = iter(answers)
        self.requests: list[ModelRequest] = []
        self.streaming = asyncio.Event()
        self.closed = asyncio.Event()

    async def stream(self, request: ModelRequest) -> AsyncGenerator[StreamPart, None]:
        self.requests.append(request)
        try:
            for part in next(self._answers):
                if isinstance(part, Exception):
                    raise part
                if isinstance(part, float):
                    self.streaming.set()
                    await asyncio.sleep(part)
                else:
                    yield part
        finally:
            self.closed.set()


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Scripted]:
    """Return a function that has the model say so in the calls to come."""

    def say(*answers: list[StreamPart | Exception | float]) -> Scripted:
        model = Scripted(*answers)
        monkeypatch.setattr(asides, "provider_of", lambda name: (model, name))
        return model

    return say


def rows() -> dict[str, list[Any]]:
    """Return all that is stored of sessions."""
    return {table.__name__: list(table.objects.order_by("pk").values()) for table in TABLES}


async def ask(client: AsyncClient, session: Session, text: str, **extra: Any) -> Any:
    """Ask a side question; return the response."""
    return await client.post(
        f"/api/v1/sessions/{session.id}/aside", {"text": text}, content_type="application/json", **extra
    )


async def body_of(response: Any) -> str:
    """Read a stream to its end."""
    async with asyncio.timeout(PATIENCE):
        return b"".join([piece async for piece in response.streaming_content]).decode()


def chunks_of(body: str) -> list[dict[str, Any]]:
    """Return the chunks of a whole stream, after making sure that it is one."""
    blocks = body.split("\n\n")
    assert blocks[-2:] == ["data: [DONE]", ""]
    assert all(block.startswith("data: ") and "\n" not in block for block in blocks[:-1] if block[0] != ":")
    chunks = [json.loads(block.removeprefix("data: ")) for block in blocks[:-2] if block[0] != ":"]
    terminal = [chunk["type"] for chunk in chunks if chunk["type"] in ("finish", "error", "abort")]
    assert len(terminal) == 1, terminal
    assert chunks[-1]["type"] == terminal[0]
    assert chunks[0]["type"] == "start"
    kinds = [chunk["type"] for chunk in chunks]
    for kind in ("text", "reasoning"):
        assert kinds.count(f"{kind}-start") == kinds.count(f"{kind}-end")
    assert kinds.count("start-step") - kinds.count("finish-step") in (0, 1)
    assert not any(kind.startswith("tool-") for kind in kinds)
    return chunks


async def answer(client: AsyncClient, session: Session, text: str) -> list[dict[str, Any]]:
    """Ask a side question and return the chunks of its answer, after making sure that the session is as before."""
    before = await db(rows)
    response = await ask(client, session, text)
    assert response.status_code == 200, response.content
    chunks = chunks_of(await body_of(response))
    assert await db(rows) == before
    assert await db(invariants.check) == []
    return chunks


def text_of(chunks: list[dict[str, Any]]) -> str:
    """What the reader has seen."""
    return Transcript.of(list(enumerate(chunks, 1))).text


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


@pytest.mark.parametrize("status", ["queued", "requires_action"])
async def test_while_a_turn_waits(async_client: AsyncClient, session: Session, status: str) -> None:
    turn = await db(make_turn, session, "/words 1")
    if status == "requires_action":
        await db(Turn.objects.filter(pk=turn.pk).update, status=status, action_id=turn.pk)
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


async def test_a_failure_after_some_text_closes_it_and_is_not_tried_again(
    async_client: AsyncClient, session: Session, says: Callable[..., Scripted]
) -> None:
    model = says([Text("So"), ProviderError("overloaded", "Too busy.")])
    chunks = await answer(async_client, session, "?")
    kinds = [chunk["type"] for chunk in chunks]
    assert kinds == ["start", "start-step", "text-start", "text-delta", "text-end", "data-error", "error"]
    assert len(model.requests) == 1


async def test_a_failure_before_any_text_is_tried_again(async_client: AsyncClient, session: Session) -> None:
    chunks = await answer(async_client, session, "/fail overloaded 2\n/words 2")
    assert text_of(chunks) == "w1 w2"
    kinds = [chunk["type"] for chunk in chunks]
    assert (kinds.count("start"), kinds.count("start-step"), kinds.count("data-status")) == (1, 1, 2)


async def test_it_is_not_tried_for_ever(async_client: AsyncClient, session: Session) -> None:
    chunks = await answer(async_client, session, "/fail overloaded")
    assert chunks[-2]["data"]["code"] == "overloaded"
    assert [chunk["type"] for chunk in chunks].count("data-status") == loop.TRIES_MAX - 1


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


# --- who may -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 400, "invalid"),
        ({"text": " \n"}, 400, "invalid"),
        ({"text": 1}, 400, "invalid"),
        ({"text": "x", "model": "demo/demo"}, 400, "unknown_field"),
        ({"text": "x" * 64_001}, 413, "text_too_long"),
    ],
)
async def test_what_cannot_be_asked_is_refused_before_a_stream_begins(
    async_client: AsyncClient, session: Session, body: Any, status: int, code: str
) -> None:
    response = await async_client.post(
        f"/api/v1/sessions/{session.id}/aside", body, content_type="application/json"
    )
    assert (response.status_code, response.json()["code"]) == (status, code)


async def test_other_peoples_sessions_are_not_there(
    async_client: AsyncClient, other_async_client: AsyncClient, session: Session
) -> None:
    assert (await ask(other_async_client, session, "x")).status_code == 404
    response = await async_client.post("/api/v1/sessions/x/aside", {"text": "x"}, content_type="application/json")
    assert response.status_code == 404
    assert (await async_client.get(f"/api/v1/sessions/{session.id}/aside")).status_code == 405


async def test_strangers_and_forged_forms_are_refused(user: User, session: Session) -> None:
    assert (await ask(AsyncClient(), session, "x")).status_code == 401
    client = AsyncClient(enforce_csrf_checks=True)
    await client.aforce_login(user)
    assert (await ask(client, session, "x")).json()["code"] == "csrf"


@pytest.mark.parametrize("loss", ["deleted", "logged out", "nobody can tell"])
async def test_who_may_not_read_on_gets_one_end(
    async_client: AsyncClient,
    session: Session,
    user: User,
    monkeypatch: pytest.MonkeyPatch,
    says: Callable[..., Scripted],
    loss: str,
) -> None:
    monkeypatch.setattr(asides, "BEAT_SECONDS", 0.02)
    model = says([Text("secret"), 60.0])
    reading = asyncio.create_task(body_of(await ask(async_client, session, "?")))
    await model.streaming.wait()
    if loss == "deleted":
        await db(delete_session, user=user, session_id=session.id)
    elif loss == "logged out":
        await async_client.alogout()
    else:

        def away(*_: Any) -> None:
            raise OperationalError("the database is away")

        monkeypatch.setattr("chat.api.asides._check", away)
    chunks = chunks_of(await reading)
    assert chunks[-1] == {"type": "abort", "reason": "stopped"}
    assert model.closed.is_set()


# --- leaving, and how many -----------------------------------------------------------------------


@pytest.mark.parametrize("while_", ["it waits for words", "words wait for it"])
async def test_a_client_that_leaves_ends_the_models_call(
    async_client: AsyncClient, session: Session, says: Callable[..., Scripted], while_: str
) -> None:
    model = says([Text("one"), Usage(5, 1, cost_microdollars=7), 60.0])
    before = await db(rows)
    response = await ask(async_client, session, "?")
    pieces = aiter(response.streaming_content)
    while not model.streaming.is_set():
        await anext(pieces)
    if while_ == "it waits for words":
        reading = asyncio.create_task(_drain(pieces))
        await asyncio.wait([reading], timeout=0.1)
        reading.cancel()
        await asyncio.wait([reading])
    else:
        await asyncio.to_thread(response.close)
    async with asyncio.timeout(PATIENCE):
        await model.closed.wait()
        await no_place_taken()
    assert await db(rows) == before
    record = await db(UsageRecord.objects.get, turn=None)
    assert record.cost_microdollars == 7, "what was used was used"


async def _drain(pieces: AsyncIterator[bytes]) -> None:
    async for _ in pieces:
        continue


async def test_a_client_that_never_reads_asks_no_model(
    async_client: AsyncClient,
    session: Session,
    says: Callable[..., Scripted],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(asides, "READER_SECONDS", 0.05)
    monkeypatch.setattr(asides, "BEAT_SECONDS", 0.05)
    model = says([Text("one"), Stop("stop")])
    response = await ask(async_client, session, "?")
    await no_place_taken()
    assert model.requests == []
    [chunk] = [json.loads(line[6:]) for line in (await body_of(response)).split("\n\n")[:-2]]
    assert chunk["type"] == "abort"


async def test_two_at_once_and_not_three(
    async_client: AsyncClient, other_async_client: AsyncClient, session: Session, other_user: User
) -> None:
    streams = [await ask(async_client, session, "/words 200 5") for _ in range(2)]
    refused = await ask(async_client, session, "/words 1")
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    assert int(refused["Retry-After"]) > 0
    theirs = await db(make, other_user)
    assert text_of(chunks_of(await body_of(await ask(other_async_client, theirs, "/words 1")))) == "w1"
    for stream in streams:
        chunks_of(await body_of(stream))
    assert text_of(await answer(async_client, session, "/words 1")) == "w1"


async def test_what_is_refused_takes_no_place(async_client: AsyncClient, session: Session) -> None:
    for _ in range(asides.AT_ONCE + 1):
        assert (await ask(async_client, session, " ")).status_code == 400


async def test_side_questions_count_as_sent(
    async_client: AsyncClient, session: Session, user: User, settings: Settings
) -> None:
    settings.SEND_RATE = 1
    assert text_of(await answer(async_client, session, "/words 1")) == "w1"
    refused = await ask(async_client, session, "/words 1")
    assert (refused.status_code, refused.json()["fields"]["window"]) == (429, "minute")
    assert await db(SendRate.objects.filter(user=user).count) == 1


# --- what it cost --------------------------------------------------------------------------------


async def test_the_cost_is_the_persons_and_not_the_sessions(
    async_client: AsyncClient, session: Session, user: User
) -> None:
    await answer(async_client, session, "/words 3\n/cost 42")
    record = await db(UsageRecord.objects.get, turn=None)
    assert (record.user_id, record.session_id, record.model) == (user.pk, session.pk, "demo/demo")
    assert (record.output_tokens, record.cost_microdollars, record.cost_source) == (3, 42, "provider")
    assert record.input_tokens > 0
    await db(delete_session, user=user, session_id=session.id)
    kept = await db(UsageRecord.objects.get, pk=record.pk)
    assert (kept.session_id, kept.cost_microdollars) == (None, 42)


async def test_every_call_that_used_something_is_recorded(
    async_client: AsyncClient, session: Session, says: Callable[..., Scripted]
) -> None:
    says(
        [Usage(5, 0, cost_microdollars=1), ProviderError("overloaded", "Busy.")],
        [Text("x"), Usage(5, 1, cost_microdollars=2), Stop("stop")],
    )
    await answer(async_client, session, "?")
    costs = await db(
        lambda: list(UsageRecord.objects.filter(turn=None).values_list("cost_microdollars", flat=True))
    )
    assert sorted(costs) == [1, 2]


async def test_the_cost_of_a_question_about_a_session_that_is_gone_is_kept(user: User, session: Session) -> None:
    gone = session.id
    await db(delete_session, user=user, session_id=gone)
    cost = Cost(3, "provider")
    await db(record_aside, user_id=user.pk, session_id=gone, step=1, model="m", usage=Usage(1, 2), cost=cost)
    record = await db(UsageRecord.objects.get, turn=None)
    assert (record.session_id, record.user_id, record.cost_microdollars) == (None, user.pk, 3)


async def test_a_turn_that_ends_meanwhile_ends_as_ever(async_client: AsyncClient, session: Session) -> None:
    """Neither waits for the other."""
    turn = await db(make_turn, session, "/words 1")
    response = await ask(async_client, session, "/words 50 10")
    pieces = aiter(response.streaming_content)
    await anext(pieces)
    holder: Holder = await db(hold, turn)
    await db(holder.answer)
    assert (await db(lambda: holder.turn.status)) == "completed"
    rest = b"".join([piece async for piece in pieces]).decode()
    assert '"finish"' in rest
