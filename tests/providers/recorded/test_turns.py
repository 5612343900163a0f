"""Recorded answers through a real turn: how it ends, what it keeps, and that no rule about its rows is broken."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pytest_django import Settings

from common.db import db
from copilot.agent import asking
from copilot.diagnostics import invariants
from copilot.models import ToolCall
from copilot.providers.transport import close_clients
from tests.factories import answer_of, make_session
from tests.harness import Crew, crew, hints
from tests.providers.answers import Answer, ask, collect
from tests.providers.recorded.recordings import CASES, params, provider_of, reply_of
from tests.providers.server import Reply, Request, serve, sse

__all__ = ["crew", "hints"]

pytestmark = pytest.mark.django_db(transaction=True)

STREAMS = [case for case in CASES.values() if case["stream"] and case["response_status"] == 200]
APIS = {
    "anthropic.messages": "anthropic",
    "openai.responses": "openai-responses",
    "openai.chat_completions": "openai",
}
#: What the model says when it is asked again.
CLOSING = {
    "anthropic": [
        {"type": "message_start", "message": {"content": [], "usage": {"input_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "Closing."}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}},
        {"type": "message_stop"},
    ],
    "openai-responses": [
        {"type": "response.output_text.delta", "output_index": 0, "delta": "Closing."},
        {"type": "response.completed", "response": {"status": "completed", "output": []}},
    ],
    "openai": [{"choices": [{"index": 0, "delta": {"content": "Closing."}, "finish_reason": "stop"}]}],
}


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again without waiting."""
    monkeypatch.setattr(asking, "BACKOFF_SECONDS", 0.0)


@pytest.fixture(autouse=True)
async def one(crew: Crew) -> AsyncIterator[None]:
    await crew.hire()
    yield
    await close_clients()


@pytest.mark.parametrize("case", params(STREAMS))
async def test_a_turn_ends_as_its_recorded_answer_says(
    case: dict[str, Any], crew: Crew, settings: Settings
) -> None:
    api = APIS[case["api"]]
    async with serve(reply_of(case)) as server:
        whole = await collect(provider_of(case, server.url).stream(ask()))

    def answered(_request: Request) -> Reply:
        first = whole.error is not None or len(server.requests) == 1
        return reply_of(case, 4093 if case["response_bytes"] > 60_000 else 17) if first else closing

    closing = Reply([sse(*CLOSING[api], done=api == "openai")])
    async with serve(answered) as server:
        url = server.url if api == "anthropic" else f"{server.url}/v1"
        settings.COPILOT_PROVIDERS = {"recorded": {"api": api, "base_url": url, "api_key": "k"}}
        session = await db(lambda: make_session(model="recorded/m"))
        turn = await crew.say("Go on.", session)
        bodies = [request.body for request in server.requests]

    assert await db(invariants.check) == []
    answer = await db(answer_of, turn)
    text = answer.text if answer else ""
    rows = await db(lambda: list(ToolCall.objects.filter(turn=turn).order_by("step", "position")))
    if whole.error:
        assert (turn.status, turn.outcome) == ("failed", whole.error.code)
        assert text == whole.text
        return
    if not (whole.text.strip() or whole.calls or whole.said):
        assert (turn.status, turn.outcome) == ("failed", "no_response")
        return
    assert turn.status == "completed"
    assert text.startswith(whole.text)
    assert [(row.provider_id, row.name) for row in rows] == [
        (call.id, call.name) for _, call in sorted(whole.calls.items())
    ]
    if whole.calls or not whole.text.strip():
        assert text == f"{whole.text}Closing."
        assert len(bodies) == 2
        _check_second_request(bodies[1], whole)
    else:
        assert whole.stop is not None
        assert (text, turn.outcome) == (whole.text, whole.stop.reason)


def _check_second_request(body: dict[str, Any], whole: Answer) -> None:
    """Make sure that each call went back with one result, and that nobody's thoughts did without need."""
    sent = json.dumps(body)
    for call in whole.calls.values():
        assert sent.count(json.dumps(call.id)) == 2
    if whole.reasoning and not whole.extras:
        assert json.dumps(whole.reasoning)[1:-1] not in sent
