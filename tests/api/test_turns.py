"""Reading a turn, waiting for its end, stopping it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from django.test import AsyncClient

from common.db import db
from copilot import objects
from copilot.models import Session, Turn, UsageRecord
from tests.api.conftest import append_events, end_turn

Make = Callable[..., Any]
KEYS = {
    "id",
    "session",
    "status",
    "origin",
    "attempt",
    "created_at",
    "started_at",
    "finished_at",
    "model",
    "message_ids",
    "text",
    "usage",
}


def record(turn: Turn, **over: Any) -> None:
    UsageRecord.objects.create(
        **{"turn": turn, "user_id": turn.user_id, "fence": 1, "step": 1, "model": "m", **over}
    )


def test_a_new_turn_has_no_optional_keys(session: Session, make_turn: Make) -> None:
    shown = objects.turn_object(make_turn(session))
    assert set(shown) == KEYS
    assert shown["usage"] == {
        "input_tokens": 0,
        "output_tokens": 0,
        "reasoning_tokens": 0,
        "cache_read_tokens": 0,
        "cache_write_tokens": 0,
        "cost_source": "unknown",
        "duration_ms": 0,
        "first_chunk_ms": None,
    }


def test_the_text_is_that_of_all_its_answers(session: Session, make_turn: Make, make_message: Make) -> None:
    turn = make_turn(session, "completed", effort="high", next_turn=None)
    question = make_message(session, "question", turn=turn)
    first = make_message(session, "one", role="assistant", turn=turn)
    parts = [
        {"type": "step-start"},
        {"type": "reasoning", "text": "hm"},
        {"type": "text", "text": "two"},
        {"type": "text", "text": "three"},
    ]
    second = make_message(session, "", role="assistant", state="partial", turn=turn, parts=parts)
    make_message(session, "", role="assistant", state="open", turn=turn)
    shown = objects.turn_object(turn)
    assert shown["text"] == "onetwothree"
    assert shown["message_ids"] == [str(question.id), str(first.id), str(second.id)]
    assert shown["effort"] == "high"


def test_usage_is_the_sum_of_all_calls(session: Session, make_turn: Make) -> None:
    turn = make_turn(session, "completed", running_ms=1500, first_chunk_ms=20)
    record(turn, input_tokens=100, output_tokens=5, cost_microdollars=7, cost_source="provider")
    record(
        turn,
        step=2,
        input_tokens=110,
        output_tokens=6,
        reasoning_tokens=2,
        cache_read_tokens=90,
        cache_write_tokens=3,
        cost_microdollars=8,
        cost_source="table",
    )
    shown = objects.turn_object(turn)
    assert shown["usage"] == {
        "input_tokens": 210,
        "output_tokens": 11,
        "reasoning_tokens": 2,
        "cache_read_tokens": 90,
        "cache_write_tokens": 3,
        "cost_microdollars": 15,
        "cost_source": "table",
        "duration_ms": 1500,
        "first_chunk_ms": 20,
    }
    assert "context" not in shown


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"context_window": 0}, {"used": 110, "estimated": False}),
        ({"context_window": 8000}, {"used": 110, "estimated": False, "window": 8000}),
        ({"context_estimated": True}, {"used": 110, "estimated": True}),
    ],
    ids=["no window is known", "a window is known", "estimated"],
)
def test_context_is_what_the_latest_call_took(
    session: Session, make_turn: Make, columns: dict[str, Any], expected: dict[str, Any]
) -> None:
    turn = make_turn(session, "completed", context_used=110, **columns)
    assert objects.turn_object(turn)["context"] == expected


def test_an_unknown_cost_is_said_to_be_unknown(session: Session, make_turn: Make) -> None:
    turn = make_turn(session, "completed")
    record(turn, input_tokens=1)
    usage = objects.turn_object(turn)["usage"]
    assert usage["cost_source"] == "unknown"
    assert "cost_microdollars" not in usage


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        (
            "failed",
            {"detail": "No more.", "hint": "Pay.", "retryable": False},
            {"code": "quota", "detail": "No more.", "hint": "Pay.", "retryable": False},
        ),
        (
            "cancelled",
            {"detail": "Stopped.", "retryable": False},
            {"code": "stopped", "detail": "Stopped.", "retryable": False},
        ),
    ],
)
def test_what_did_not_complete_says_why(
    session: Session, make_turn: Make, status: str, error: Any, expected: Any
) -> None:
    assert objects.turn_object(make_turn(session, status, error=error))["error"] == expected


def test_the_turn_after_it_is_named(session: Session, make_turn: Make) -> None:
    following = make_turn(session, "completed")
    assert objects.turn_object(make_turn(session, "completed", next_turn=following))["next_turn"] == str(
        following.id
    )


# --- over HTTP -----------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
async def test_a_turn_is_read(async_client: AsyncClient, session: Session, make_turn: Make) -> None:
    turn = await db(make_turn, session, "completed")
    response = await async_client.get(f"/api/v1/turns/{turn.id}")
    assert response.status_code == 200
    assert set(response.json()) == KEYS
    assert response.json()["status"] == "completed"


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled", "requires_action"])
@pytest.mark.django_db(transaction=True)
async def test_waiting_ends_at_once_when_there_is_nothing_to_wait_for(
    async_client: AsyncClient, session: Session, make_turn: Make, status: str
) -> None:
    turn = await db(make_turn, session, status)
    async with asyncio.timeout(5):
        response = await async_client.get(f"/api/v1/turns/{turn.id}", {"wait": "25"})
    assert response.json()["status"] == status


@pytest.mark.django_db(transaction=True)
async def test_waiting_ends_with_the_turn(async_client: AsyncClient, session: Session, make_turn: Make) -> None:
    turn = await db(make_turn, session, "running")
    await db(append_events, turn, {"type": "start-step"})
    waiting = asyncio.create_task(async_client.get(f"/api/v1/turns/{turn.id}", {"wait": "25"}))
    done, _ = await asyncio.wait([waiting], timeout=0.3)
    assert not done
    await db(end_turn, turn, {"type": "finish-step"})
    async with asyncio.timeout(10):
        response = await waiting
    assert response.json()["status"] == "completed"


@pytest.mark.django_db(transaction=True)
async def test_waiting_ends_when_a_person_is_asked(
    async_client: AsyncClient, session: Session, make_turn: Make
) -> None:
    turn = await db(make_turn, session, "running")
    waiting = asyncio.create_task(async_client.get(f"/api/v1/turns/{turn.id}", {"wait": "25"}))
    await asyncio.wait([waiting], timeout=0.2)
    await db(_ask, turn)
    async with asyncio.timeout(10):
        response = await waiting
    assert response.json()["status"] == "requires_action"


def _ask(turn: Turn) -> None:
    Turn.objects.filter(pk=turn.pk).update(
        status="requires_action", action_id=turn.pk, worker=None, heartbeat_at=None
    )
    append_events(turn, {"type": "data-approval", "data": {}})


@pytest.mark.django_db(transaction=True)
async def test_waiting_is_over_after_the_time_given(
    async_client: AsyncClient, session: Session, make_turn: Make
) -> None:
    turn = await db(make_turn, session, "running")
    async with asyncio.timeout(5):
        response = await async_client.get(f"/api/v1/turns/{turn.id}", {"wait": "0.2"})
    assert response.json()["status"] == "running"


@pytest.mark.django_db(transaction=True)
async def test_waiting_ends_when_the_session_is_deleted(
    async_client: AsyncClient, session: Session, make_turn: Make
) -> None:
    turn = await db(make_turn, session, "running")
    waiting = asyncio.create_task(async_client.get(f"/api/v1/turns/{turn.id}", {"wait": "25"}))
    await asyncio.wait([waiting], timeout=0.2)
    await db(session.delete)
    async with asyncio.timeout(10):
        response = await waiting
    assert (response.status_code, response.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize("by", ["session", "session and turn", "turn"])
@pytest.mark.django_db(transaction=True)
async def test_what_waits_for_a_worker_is_stopped_at_once(
    async_client: AsyncClient, session: Session, make_turn: Make, by: str
) -> None:
    turn = await db(make_turn, session)
    path = f"turns/{turn.id}" if by == "turn" else f"sessions/{session.id}"
    body = {"turn": str(turn.id)} if by == "session and turn" else None
    response = await async_client.post(f"/api/v1/{path}/cancel", body or {}, content_type="application/json")
    assert response.status_code == 200
    assert response.json() == {"cancelled": True, "confirmed": True, "turn": str(turn.id)}
    shown = (await async_client.get(f"/api/v1/turns/{turn.id}")).json()
    assert (shown["status"], shown["error"]["code"]) == ("cancelled", "stopped")


@pytest.mark.django_db(transaction=True)
async def test_nothing_to_stop_is_not_an_error(async_client: AsyncClient, session: Session) -> None:
    response = await async_client.generic("POST", f"/api/v1/sessions/{session.id}/cancel")
    assert (response.status_code, response.json()) == (200, {"cancelled": False, "confirmed": False})


@pytest.mark.django_db(transaction=True)
async def test_a_turn_that_has_ended_is_left_alone(
    async_client: AsyncClient, session: Session, make_turn: Make
) -> None:
    done = await db(make_turn, session, "completed")
    live = await db(make_turn, session)
    response = await async_client.generic("POST", f"/api/v1/turns/{done.id}/cancel")
    assert response.json() == {"cancelled": False, "confirmed": True, "turn": str(done.id)}
    assert (await db(Turn.objects.get, pk=live.pk)).status == "queued"


@pytest.mark.parametrize(
    ("method", "path"), [("post", ""), ("delete", ""), ("get", "/cancel"), ("post", "/events")]
)
@pytest.mark.django_db(transaction=True)
async def test_other_methods_are_refused(
    async_client: AsyncClient, session: Session, make_turn: Make, method: str, path: str
) -> None:
    turn = await db(make_turn, session)
    response = await getattr(async_client, method)(f"/api/v1/turns/{turn.id}{path}")
    assert (response.status_code, response.json()["code"]) == (405, "invalid")
