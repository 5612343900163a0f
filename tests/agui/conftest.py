"""Runs of a thread as their wire has them, and the client's rules for what it may be told."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any

import pytest
from django.test import AsyncClient

from copilot.models import User
from tests.approvals.asking import people
from tests.harness import PATIENCE, Crew, crew, hints

__all__ = ["crew", "hints", "people"]

Event = dict[str, Any]
_PAIRS = {
    "TEXT_MESSAGE_START": ("TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END", "messageId"),
    "REASONING_START": ("", "REASONING_END", "messageId"),
    "REASONING_MESSAGE_START": ("REASONING_MESSAGE_CONTENT", "REASONING_MESSAGE_END", "messageId"),
    "TOOL_CALL_START": ("TOOL_CALL_ARGS", "TOOL_CALL_END", "toolCallId"),
    "STEP_STARTED": ("", "STEP_FINISHED", "stepName"),
}


def check(events: list[Event]) -> None:
    """Assert what the official client asserts of a whole run."""
    assert events[0]["type"] == "RUN_STARTED"
    assert [event["type"] for event in events if event["type"] in ("RUN_FINISHED", "RUN_ERROR")] == [
        events[-1]["type"]
    ]
    is_open: set[tuple[str, str]] = set()
    for event in events:
        for start, (inside, end, name) in _PAIRS.items():
            if event["type"] == start:
                assert (start, event[name]) not in is_open, event
                is_open.add((start, event[name]))
            elif event["type"] in (inside, end):
                assert (start, event[name]) in is_open, event
                if event["type"] == end:
                    is_open.remove((start, event[name]))
        assert None not in event.values()
    assert events[-1]["type"] == "RUN_ERROR" or not is_open


class Front:
    """A front end: it knows the wire, and keeps nothing."""

    def __init__(self, client: AsyncClient) -> None:
        self.client = client

    async def call(self, body: Any, **extra: Any) -> Any:
        """``POST ui/ag-ui``; return the response."""
        return await self.client.post("/api/v1/ui/ag-ui", body, content_type="application/json", **extra)

    async def run(self, thread: str, *said: Event, **over: Any) -> list[Event]:
        """Run a thread to the end of the stream; return its events, after making sure that they are in order."""
        response = await self.call({"threadId": thread, "runId": "r", "messages": list(said), **over})
        assert response.status_code == 200, response.content
        async with asyncio.timeout(PATIENCE):
            body = b"".join([piece async for piece in response.streaming_content]).decode()
        blocks = [block for block in body.split("\n\n") if block and not block.startswith(":")]
        events = [json.loads(block.removeprefix("data: ")) for block in blocks]
        check(events)
        return events


def saying(text: str, name: str = "", **over: Any) -> Event:
    """Return a message of the person's."""
    return {"id": name or uuid.uuid4().hex, "role": "user", "content": text, **over}


def of(events: list[Event], kind: str) -> list[Event]:
    """Return the events of this type."""
    return [event for event in events if event["type"] == kind]


def text_of(events: list[Event]) -> str:
    """Return what was said."""
    return "".join(event["delta"] for event in of(events, "TEXT_MESSAGE_CONTENT"))


def interrupts_of(events: list[Event]) -> list[Event]:
    """Return what a run that pauses asks."""
    assert events[-1]["outcome"]["type"] == "interrupt", events[-1]
    found: list[Event] = events[-1]["outcome"]["interrupts"]
    return found


@pytest.fixture
async def worker(crew: Crew) -> Crew:
    """Somebody who runs turns."""
    await crew.hire()
    return crew


@pytest.fixture
def front(user: User) -> Front:
    """The front end of the person that a test is about."""
    return _front(user)


@pytest.fixture
def other_front(other_user: User) -> Front:
    return _front(other_user)


def _front(user: User) -> Front:
    client = AsyncClient()
    client.force_login(user)
    return Front(client)
