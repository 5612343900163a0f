"""Recorded conversations of several steps, led by our adapters: what they answer, and what they are asked."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest

from copilot.providers.base import ModelMessage, TextPart, ToolSpec
from tests.providers.answers import ask, collect
from tests.providers.recorded.recordings import CASES, ORACLE, SEQUENCES, body_of, provider_of, reply_of
from tests.providers.server import Request, serve

#: All that may be in a request, and in one of its messages that is not an item as the provider itself gave it.
_FIELDS = {
    "openai.chat_completions": {"model", "messages", "stream", "stream_options", "tools"},
    "openai.responses": {"model", "input", "stream", "store", "instructions", "tools", "include"},
    "anthropic.messages": {"model", "messages", "stream", "max_tokens", "system", "tools"},
}
_MESSAGE_FIELDS = {"role", "content", "tool_calls", "tool_call_id", "phase"}
_QUESTION = ModelMessage("user", (TextPart("Go on."),))


@pytest.mark.parametrize("name", sorted(SEQUENCES))
async def test_a_conversation_is_led_step_by_step(name: str) -> None:
    steps = [CASES[step] for step in SEQUENCES[name]["steps"]]
    by_rounds = SEQUENCES[name]["routing"] == "tool-rounds"
    in_order = iter(steps)
    answered: list[str] = []

    def answer_of(request: Request) -> Any:
        case = steps[_tool_rounds(request.body)] if by_rounds else next(in_order)
        answered.append(case["name"])
        return reply_of(case)

    tools = tuple(ToolSpec(tool, "A tool.", {"type": "object"}) for tool in sorted(_tools_of(steps)))
    messages = [_QUESTION]
    async with serve(answer_of) as server:
        provider = provider_of(steps[0], server.url)
        for case in steps:
            answer = await collect(provider.stream(ask(messages=tuple(messages), tools=tools)))
            assert (answer.error is not None) == bool(ORACLE[case["name"]].get("error"))
            if answer.stop:
                messages += answer.as_step("The result.")
                messages += [] if answer.calls else [_QUESTION]
    assert answered == [case["name"] for case in steps]
    _check_requests([request.body for request in server.requests], steps)


def _tools_of(steps: list[dict[str, Any]]) -> set[str]:
    names = ("tool_calls", "tool_uses", "function_calls")
    return {call["name"] for case in steps for name in names for call in ORACLE[case["name"]].get(name) or ()}


def _conversation(body: dict[str, Any]) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = body.get("messages") or body["input"]
    return items


def _tool_rounds(body: dict[str, Any]) -> int:
    """Count the runs of tool results."""
    rounds, before = 0, False
    for item in _conversation(body):
        content = item.get("content")
        blocks = content if isinstance(content, list) else []
        is_result = (
            item.get("role") == "tool"
            or item.get("type") == "function_call_output"
            or any(block.get("type") == "tool_result" for block in blocks)
        )
        rounds += is_result and not before
        before = is_result
    return rounds


def _calls(body: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (``call`` or ``result``, id) in order."""
    for item in _conversation(body):
        for call in item.get("tool_calls") or ():
            yield "call", call["id"]
        if item.get("role") == "tool":
            yield "result", item["tool_call_id"]
        if item.get("type") in ("function_call", "function_call_output"):
            yield "call" if item["type"] == "function_call" else "result", item["call_id"]
        for block in item["content"] if isinstance(item.get("content"), list) else ():
            if block.get("type") == "tool_use":
                yield "call", block["id"]
            elif block.get("type") == "tool_result":
                yield "result", block["tool_use_id"]


def _check_requests(bodies: list[dict[str, Any]], steps: list[dict[str, Any]]) -> None:
    for number, body in enumerate(bodies):
        assert set(body) <= _FIELDS[steps[0]["api"]]
        assert all(set(item) <= _MESSAGE_FIELDS for item in _conversation(body) if "type" not in item)
        paired = list(_calls(body))
        calls = [ident for kind, ident in paired if kind == "call"]
        assert calls == [ident for kind, ident in paired if kind == "result"]
        assert len(set(calls)) == len(calls)
        sent = json.dumps(body)
        for case in steps[:number]:
            for ident in _given_ids(case):
                assert ident in calls
            for secret in _signatures(case):
                assert json.dumps(secret)[1:-1] in sent
    fixed = ("system", "instructions", "tools", "model", "include")
    for name in fixed:
        assert len({json.dumps(body.get(name)) for body in bodies}) == 1
    for earlier, later in itertools.pairwise(bodies):
        began = _conversation(earlier)
        assert _conversation(later)[: len(began)] == began


def _given_ids(case: dict[str, Any]) -> list[str]:
    oracle = ORACLE[case["name"]]
    calls = oracle.get("tool_calls") or oracle.get("tool_uses") or oracle.get("function_calls") or []
    return [ident for call in calls if (ident := call.get("call_id") or call["id"])]


def _signatures(case: dict[str, Any]) -> Iterator[str]:
    """Yield what a provider signed or encrypted in an answer and must get back with the calls that it led to."""
    if not _given_ids(case):
        return
    for line in body_of(case).splitlines():
        if not line.startswith(b"data: {"):
            continue
        event = json.loads(line[6:])
        if event.get("type") == "response.output_item.done" and event["item"].get("encrypted_content"):
            yield event["item"]["encrypted_content"]
        if (event.get("delta") or {}) and isinstance(event["delta"], dict) and event["delta"].get("signature"):
            yield event["delta"]["signature"]
