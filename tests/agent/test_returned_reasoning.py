"""What a provider must get back of its own answer within a turn comes back through the rows, unchanged."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from pytest_django import Settings

from common.db import db
from copilot.providers.transport import close_clients
from tests.factories import answer_of, make_session
from tests.harness import Crew
from tests.providers.server import Reply, serve, sse

pytestmark = pytest.mark.django_db(transaction=True)

SIGNATURE = "EqQBCkYIARgCKkA" + "b0+/" * 40
SUM = '{"expression":"1+1"}'


@pytest.fixture(autouse=True)
async def one(crew: Crew) -> AsyncIterator[None]:
    await crew.hire()
    yield
    await close_clients()


async def bodies_of(crew: Crew, settings: Settings, name: str, api: str, *replies: Reply) -> list[dict[str, Any]]:
    """Return what a provider of this name was asked in one turn, which said ``Closing.`` at its end."""
    async with serve(replies) as server:
        settings.COPILOT_PROVIDERS = {name: {"api": api, "base_url": server.url, "api_key": "k"}}
        turn = await crew.say("Go on.", await db(lambda: make_session(model=f"{name}/m")))
        assert (turn.status, turn.outcome) == ("completed", "stop")
        answer = await db(answer_of, turn)
        assert answer is not None
        assert answer.text.endswith("Closing.")
        return [request.body for request in server.requests]


def messages_stream(*blocks: tuple[dict[str, Any], dict[str, Any] | None], reason: str) -> Reply:
    events: list[Any] = [{"type": "message_start", "message": {"usage": {"input_tokens": 1}}}]
    for index, (content, delta) in enumerate(blocks):
        events.append({"type": "content_block_start", "index": index, "content_block": content})
        if delta:
            events.append({"type": "content_block_delta", "index": index, "delta": delta})
        events.append({"type": "content_block_stop", "index": index})
    events += [{"type": "message_delta", "delta": {"stop_reason": reason}}, {"type": "message_stop"}]
    return Reply([sse(*events, done=False, named=True)])


MESSAGES_END = messages_stream(({"type": "text", "text": "Closing."}, None), reason="end_turn")


async def test_signed_and_redacted_thinking_of_the_messages_api(crew: Crew, settings: Settings) -> None:
    thinking = {"type": "thinking", "thinking": "I add.", "signature": SIGNATURE}
    redacted = {"type": "redacted_thinking", "data": SIGNATURE[::-1]}
    text = {"type": "text", "text": "Let me add."}
    use = {"type": "tool_use", "id": "toolu_1", "name": "calculator", "input": {"expression": "1+1"}}
    said = [thinking, redacted, text, use]
    first = messages_stream(*[(block, None) for block in said], reason="tool_use")
    bodies = await bodies_of(crew, settings, "claude", "anthropic", first, MESSAGES_END)
    assert bodies[1]["messages"][1] == {"role": "assistant", "content": said}
    (result,) = bodies[1]["messages"][2]["content"]
    assert (result["type"], result["tool_use_id"]) == ("tool_result", "toolu_1")
    assert [bodies[1][name] for name in ("system", "tools")] == [bodies[0][name] for name in ("system", "tools")]


async def test_a_message_that_paused_goes_back_whole(crew: Crew, settings: Settings) -> None:
    text = {"type": "text", "text": "Searching. "}
    use = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}}
    found = {
        "type": "web_search_tool_result",
        "tool_use_id": "srvtoolu_1",
        "content": [{"url": "https://x.example"}],
    }
    first = messages_stream((text, None), (use, None), (found, None), reason="pause_turn")
    bodies = await bodies_of(crew, settings, "claude", "anthropic", first, MESSAGES_END)
    assert bodies[1]["messages"] == [*bodies[0]["messages"], {"role": "assistant", "content": [text, use, found]}]


async def test_encrypted_reasoning_of_the_responses_api(crew: Crew, settings: Settings) -> None:
    thought = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": SIGNATURE}
    call = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "calculator", "arguments": SUM}
    first = [
        {"type": "response.output_item.done", "output_index": place, "item": item}
        for place, item in enumerate((thought, call))
    ]
    last = [{"type": "response.output_text.delta", "output_index": 0, "delta": "Closing."}]
    end = {"type": "response.completed", "response": {"status": "completed", "output": []}}
    replies = [Reply([sse(*events, end, done=False, named=True)]) for events in (first, last)]
    bodies = await bodies_of(crew, settings, "replies", "openai-responses", *replies)
    given = len(bodies[0]["input"])
    assert bodies[1]["input"][:given] == bodies[0]["input"]
    sent, made, result = bodies[1]["input"][given:]
    assert sent == thought
    assert (made["call_id"], made["name"], made["arguments"]) == ("call_1", "calculator", SUM)
    assert (result["type"], result["call_id"]) == ("function_call_output", "call_1")


@pytest.mark.parametrize(("name", "back"), [("deepseek", {"reasoning_content": "I add."}), ("groq", {})])
async def test_reasoning_of_chat_completions_goes_where_it_is_needed(
    crew: Crew, settings: Settings, name: str, back: dict[str, str]
) -> None:
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "calculator", "arguments": SUM}}

    def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}

    first = [chunk({"reasoning_content": "I add."}), chunk({"tool_calls": [call]}, "tool_calls")]
    replies = [Reply([sse(*events)]) for events in (first, [chunk({"content": "Closing."}, "stop")])]
    bodies = await bodies_of(crew, settings, name, "openai", *replies)
    message = next(message for message in bodies[1]["messages"] if message["role"] == "assistant")
    (made,) = message.pop("tool_calls")
    assert message == {"role": "assistant", "content": None, **back}
    assert (made["id"], made["function"]) == ("call_1", {"name": "calculator", "arguments": SUM})
