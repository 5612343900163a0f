"""A turn's events by long poll and by SSE."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from django.test import AsyncClient

from common.db import db
from copilot import serving
from copilot.events import follow as following
from copilot.models import Session, Turn, TurnEvent, User
from tests.api.conftest import append_events, end_turn

Make = Callable[..., Any]
pytestmark = pytest.mark.django_db(transaction=True)

DELTA = {"type": "text-delta", "id": "t1", "delta": "häl\u2028lo\n"}


@pytest.fixture
def turn(session: Session, make_turn: Make) -> Turn:
    """A running turn that has said something."""
    turn: Turn = make_turn(session, "running")
    append_events(turn, {"type": "start", "messageId": "m"}, {"type": "text-start", "id": "t1"}, DELTA)
    return turn


async def poll(client: AsyncClient, turn: Turn, **query: Any) -> Any:
    response = await client.get(f"/api/v1/turns/{turn.id}/events", query)
    assert response.status_code == 200
    return response.json()


async def test_a_page_of_events_says_where_to_go_on(async_client: AsyncClient, turn: Turn) -> None:
    page = await poll(async_client, turn)
    assert [event["seq"] for event in page["events"]] == [1, 2, 3]
    assert page["events"][2]["chunk"] == DELTA
    assert (page["next"], page["terminal"]) == (3, False)
    page = await poll(async_client, turn, after=2)
    assert [event["seq"] for event in page["events"]] == [3]
    assert await poll(async_client, turn, after=3) == {"events": [], "next": 3, "terminal": False}
    assert await poll(async_client, turn, after=50) == {"events": [], "next": 50, "terminal": False}


async def test_an_ended_turn_is_terminal_on_its_last_page_and_after(async_client: AsyncClient, turn: Turn) -> None:
    await db(append_events, turn, *[DELTA] * 600)
    await db(end_turn, turn)
    first = await poll(async_client, turn)
    assert (len(first["events"]), first["next"], first["terminal"]) == (500, 500, False)
    second = await poll(async_client, turn, after=500)
    assert (len(second["events"]), second["next"], second["terminal"]) == (104, 604, True)
    assert second["events"][-1]["chunk"] == {"type": "finish", "finishReason": "stop"}
    for after in (604, 10_000):
        async with asyncio.timeout(5):
            assert await poll(async_client, turn, after=after, wait=25) == {
                "events": [],
                "next": after,
                "terminal": True,
            }


async def test_a_poll_that_finds_something_does_not_wait(async_client: AsyncClient, turn: Turn) -> None:
    async with asyncio.timeout(5):
        assert len((await poll(async_client, turn, wait=25))["events"]) == 3


async def test_a_poll_waits_for_the_next_event(async_client: AsyncClient, turn: Turn) -> None:
    waiting = asyncio.create_task(poll(async_client, turn, after=3, wait=25))
    done, _ = await asyncio.wait([waiting], timeout=0.3)
    assert not done
    await db(append_events, turn, {"type": "text-end", "id": "t1"})
    async with asyncio.timeout(10):
        page = await waiting
    assert page == {
        "events": [{"seq": 4, "chunk": {"type": "text-end", "id": "t1"}}],
        "next": 4,
        "terminal": False,
    }


async def test_a_poll_gives_up_after_the_time_given(async_client: AsyncClient, turn: Turn) -> None:
    async with asyncio.timeout(5):
        page = await poll(async_client, turn, after=3, wait="0.2")
    assert page == {"events": [], "next": 3, "terminal": False}


async def test_a_pruned_turn_is_a_page_of_at_most_500(
    async_client: AsyncClient, turn: Turn, make_message: Make, session: Session
) -> None:
    await db(make_message, session, "kept", role="assistant", turn=turn)
    await db(append_events, turn, *[DELTA] * 600)
    await db(end_turn, turn)
    await db(TurnEvent.objects.filter(turn=turn, seq__lte=100).delete)
    first = await poll(async_client, turn)
    assert first["events"][0]["chunk"] == {
        "type": "data-reset",
        "data": {"parts": [{"type": "text", "text": "kept"}]},
    }
    assert (len(first["events"]), first["terminal"]) == (500, False)
    second = await poll(async_client, turn, after=first["next"])
    assert second["events"][0]["seq"] == first["next"] + 1
    assert second["terminal"]


# --- SSE -----------------------------------------------------------------------------------------


async def sse(client: AsyncClient, turn: Turn, **extra: Any) -> tuple[Any, str]:
    """Read a stream to its end."""
    response = await client.get(f"/api/v1/turns/{turn.id}/stream", **extra)
    async with asyncio.timeout(20):
        body = b"".join([piece async for piece in response.streaming_content])
    return response, body.decode()


def events_of(body: str) -> list[tuple[str, str]]:
    """Return ``(id, data)`` of each event, as a browser reads them; comments are nothing."""
    events = []
    for block in body.split("\n\n"):
        fields = [line.split(": ", 1) for line in block.split("\n") if line and not line.startswith(":")]
        if fields:
            values = dict(fields)
            events.append((values.get("id", ""), values["data"]))
    return events


async def test_a_stream_tells_the_whole_turn(async_client: AsyncClient, turn: Turn) -> None:
    await db(end_turn, turn)
    response, body = await sse(async_client, turn)
    assert response.status_code == 200
    assert response["Content-Type"] == "text/event-stream"
    assert response["Cache-Control"] == "no-cache"
    assert response["X-Accel-Buffering"] == "no"
    assert response["x-vercel-ai-ui-message-stream"] == "v1"
    events = events_of(body)
    assert [seq for seq, _ in events] == ["1", "2", "3", "4", ""]
    assert json.loads(events[2][1]) == DELTA
    assert json.loads(events[3][1]) == {"type": "finish", "finishReason": "stop"}
    assert events[-1] == ("", "[DONE]")
    assert body.endswith("data: [DONE]\n\n")


async def test_a_stream_goes_on_with_what_happens(async_client: AsyncClient, turn: Turn) -> None:
    reading = asyncio.create_task(sse(async_client, turn))
    await asyncio.wait([reading], timeout=0.2)
    await db(append_events, turn, {"type": "text-end", "id": "t1"})
    await db(end_turn, turn)
    _, body = await reading
    assert [seq for seq, _ in events_of(body)] == ["1", "2", "3", "4", "5", ""]


@pytest.mark.parametrize(
    "extra",
    [
        {"headers": {"Last-Event-ID": "2"}},
        {"data": {"after": 2}},
        {"data": {"after": 1}, "headers": {"Last-Event-ID": "2"}},
    ],
)
async def test_a_stream_resumes(async_client: AsyncClient, turn: Turn, extra: Any) -> None:
    await db(end_turn, turn)
    _, body = await sse(async_client, turn, **extra)
    assert [seq for seq, _ in events_of(body)] == ["3", "4", ""]


@pytest.mark.parametrize("last", ["4", "1000"])
async def test_a_stream_resumed_after_the_end_is_over_at_once(
    async_client: AsyncClient, turn: Turn, last: str
) -> None:
    await db(end_turn, turn)
    _, body = await sse(async_client, turn, headers={"Last-Event-ID": last})
    assert body == "data: [DONE]\n\n"


async def test_silence_is_filled_with_comments_and_transient_chunks_have_no_id(
    async_client: AsyncClient, turn: Turn, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def told(turn_id: object, after: int) -> AsyncIterator[Any]:
        yield following.Beat()
        yield following.Event(None, {"type": "data-metering", "data": {}, "transient": True})
        yield following.Event(after + 1, {"type": "finish"})

    monkeypatch.setattr(serving, "follow", told)
    _, body = await sse(async_client, turn)
    assert body == (
        ": heartbeat\n\n"
        'data: {"type":"data-metering","data":{},"transient":true}\n\n'
        'id: 1\ndata: {"type":"finish"}\n\n'
        "data: [DONE]\n\n"
    )


async def test_a_broken_stream_ends_in_good_order(
    async_client: AsyncClient, turn: Turn, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def breaks(turn_id: object, after: int) -> AsyncIterator[Any]:
        yield following.Event(1, {"type": "start-step"})
        raise RuntimeError("the database is on fire")

    monkeypatch.setattr(serving, "follow", breaks)
    _, body = await sse(async_client, turn)
    assert events_of(body) == [("1", '{"type":"start-step"}'), ("", "[DONE]")]
    assert "stream broke" in caplog.text


@pytest.mark.parametrize("loss", ["session given away", "user deactivated", "logged out"])
async def test_a_stream_ends_when_the_caller_may_not_read_it_any_more(
    async_client: AsyncClient,
    turn: Turn,
    session: Session,
    user: User,
    other_user: User,
    monkeypatch: pytest.MonkeyPatch,
    loss: str,
) -> None:
    def lose() -> None:
        if loss == "session given away":
            Session.objects.filter(pk=session.pk).update(user=other_user)
        elif loss == "user deactivated":
            User.objects.filter(pk=user.pk).update(is_active=False)
        else:
            async_client.session.flush()

    async def told(turn_id: object, after: int) -> AsyncIterator[Any]:
        yield following.Event(1, {"type": "start-step"})
        await db(lose)
        yield following.Beat()
        yield following.Event(2, {"type": "text-start", "id": "secret"})

    monkeypatch.setattr(serving, "follow", told)
    monkeypatch.setattr(serving, "CHECK_SECONDS", 0.0)
    _, body = await sse(async_client, turn)
    assert events_of(body) == [("1", '{"type":"start-step"}'), ("", "[DONE]")]


async def test_a_client_that_goes_away_leaves_no_follower(
    async_client: AsyncClient, turn: Turn, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = asyncio.Event()

    async def told(turn_id: object, after: int) -> AsyncIterator[Any]:
        try:
            yield following.Event(1, {"type": "start-step"})
            await asyncio.Event().wait()
        finally:
            closed.set()

    monkeypatch.setattr(serving, "follow", told)
    response = await async_client.get(f"/api/v1/turns/{turn.id}/stream")
    pieces = aiter(response.streaming_content)
    assert await anext(pieces) == b'id: 1\ndata: {"type":"start-step"}\n\n'
    reading = asyncio.ensure_future(anext(pieces))
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert closed.is_set()
