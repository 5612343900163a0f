"""Chat completions that end early, fail, fall silent, or are given up by whoever asked."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from copilot.providers.base import (
    Usage,
)
from copilot.providers.openai import OpenAIProvider
from tests.providers.answers import ask, collect
from tests.providers.chat import answer_to, call, chunk
from tests.providers.server import Reply, failure, serve, sse


@pytest.mark.parametrize("end", ["complete", "cut"])
async def test_a_stream_that_ends_early_is_a_network_error_and_keeps_what_came(end: Any) -> None:
    usage = [{"prompt_tokens": 3, "completion_tokens": n} for n in (1, 2)]
    body = sse(chunk({"content": "par"}, usage=usage[0]), chunk({"content": "tial"}, usage=usage[1]), done=False)
    async with serve(Reply([body], end=end)) as server:
        answer = await collect(OpenAIProvider(api_key="k", base_url=server.url).stream(ask()))
    assert answer.text == "partial"
    assert answer.usage == Usage(3, 2)
    assert answer.stop is None
    assert answer.error is not None
    assert (answer.error.code, answer.error.transient) == ("network", True)


@pytest.mark.parametrize("end", ["complete", "cut"])
async def test_an_answer_that_said_why_it_ended_is_complete_without_a_marker(end: Any) -> None:
    body = sse(chunk({"content": "x"}), chunk({}, "stop"), done=False)
    async with serve(Reply([body], end=end)) as server:
        answer = await collect(OpenAIProvider(api_key="k", base_url=server.url).stream(ask()))
    assert answer.error is None
    assert answer.stop is not None


@pytest.mark.parametrize("broken", ['{"choices": [', "[1]", '{"choices": [7]}', '{"choices": [{"delta": 7}]}'])
async def test_a_broken_chunk_is_a_network_error(broken: str) -> None:
    answer = await answer_to(sse(chunk({"content": "x"}), broken))
    assert answer.text == "x"
    assert answer.error is not None
    assert answer.error.code == "network"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ({"message": "Rate limit reached", "code": 429}, "rate_limit"),
        ({"message": "Upstream", "code": 502}, "overloaded"),
        ({"message": "No", "type": "insufficient_quota", "code": "insufficient_quota"}, "quota"),
        ({"message": "The server had an error", "type": "server_error"}, "overloaded"),
        ({"message": "no tool was called", "code": "tool_use_failed", "status_code": 400}, "unknown"),
        ("the model is overloaded", "overloaded"),
    ],
)
async def test_an_error_inside_the_stream(error: Any, code: str) -> None:
    answer = await answer_to(sse(chunk({"content": "partial"}), {"error": error}, done=False))
    assert answer.text == "partial"
    assert answer.error is not None
    assert answer.error.code == code


@pytest.mark.parametrize(
    ("odd", "code"),
    [
        pytest.param({"object": "error", "message": "Oops", "code": 503}, "overloaded", id="an error object"),
        pytest.param(
            {"choices": [{"index": 0, "delta": {}, "error": {"code": 429, "message": "Slow"}}]},
            "rate_limit",
            id="in a choice",
        ),
        pytest.param(chunk({}, "insufficient_system_resource"), "overloaded", id="as a reason"),
    ],
)
async def test_errors_that_do_not_look_like_one(odd: Any, code: str) -> None:
    answer = await answer_to(sse(chunk({"content": "partial"}), odd))
    assert answer.text == "partial"
    assert answer.error is not None
    assert answer.error.code == code


async def test_an_error_event_without_an_error_object() -> None:
    body = sse(chunk({"content": "x"}), done=False) + b'event: error\ndata: {"message": "overloaded"}\n\n'
    answer = await answer_to(body)
    assert answer.error is not None
    assert answer.error.code == "overloaded"


async def test_a_server_that_does_not_stream_is_read_all_the_same() -> None:
    message = {"role": "assistant", "content": "Hi", **call("{}", id="a", name="one")}
    body = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": {"prompt_tokens": 1}}
    answer = await answer_to(json.dumps(body, indent=1).encode(), 7)
    assert (answer.text, answer.called()) == ("Hi", [("one", "{}")])
    assert answer.usage == Usage(1)
    assert answer.stop is not None
    assert answer.stop.reason == "tool-calls"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ('{"error": {"message": "slow down", "code": 429}}', "rate_limit"),
        ('{"hello": "world"}', "unknown"),
        ("<html><title>Welcome</title></html>", "unknown"),
        ("[]", "unknown"),
        ("", "network"),
    ],
)
async def test_something_else_with_status_200(body: str, code: str) -> None:
    answer = await answer_to(body.encode())
    assert answer.error is not None
    assert answer.error.code == code


async def test_the_key_is_not_shown_in_an_error() -> None:
    refused = failure(401, {"error": {"message": "Incorrect API key provided: sk-test-0123456789."}})
    async with serve(refused) as server:
        provider = OpenAIProvider(api_key="sk-test-0123456789", base_url=server.url)
        error = (await collect(provider.stream(ask()))).error
    assert error is not None
    assert error.code == "auth"
    assert "0123456789" not in error.detail


async def test_nobody_listens() -> None:
    async with serve(Reply()) as server:
        url = server.url
    error = (await collect(OpenAIProvider(api_key="k", base_url=url).stream(ask()))).error
    assert error is not None
    assert error.code == "network"


@pytest.mark.parametrize("sent", [[], [sse(chunk({"content": "x"}), done=False)]])
async def test_silence_is_a_timeout(sent: list[bytes]) -> None:
    never = asyncio.Event()
    async with serve(Reply(sent, end="open", wait=None if sent else never)) as server:
        provider = OpenAIProvider(api_key="k", base_url=server.url, idle_seconds=0.05)
        error = (await collect(provider.stream(ask()))).error
        never.set()
    assert error is not None
    assert error.code == "timeout"


async def test_a_call_is_made_once_whatever_happens() -> None:
    async with serve(failure(503, "<html><h1>503</h1></html>", retry_after="2")) as server:
        error = (await collect(OpenAIProvider(api_key="k", base_url=server.url).stream(ask()))).error
        assert len(server.requests) == 1
    assert error is not None
    assert (error.code, error.retry_after) == ("overloaded", 2)
    assert "<" not in error.detail


async def test_closing_the_stream_closes_the_connection() -> None:
    async with serve(Reply([sse(chunk({"content": "x"}), done=False)], end="open")) as server:
        stream = OpenAIProvider(api_key="k", base_url=server.url).stream(ask())
        await anext(stream)
        await stream.aclose()
        async with asyncio.timeout(5):
            await server.abandoned.wait()


async def test_cancelling_the_task_closes_the_connection() -> None:
    async with serve(Reply([sse(chunk({"content": "x"}), done=False)], end="open")) as server:
        stream = OpenAIProvider(api_key="k", base_url=server.url).stream(ask())
        await anext(stream)
        task = asyncio.create_task(collect(stream))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(5):
            await server.abandoned.wait()


async def test_a_connection_is_used_again() -> None:
    async with serve(Reply([sse(chunk({"content": "x"}, "stop"))])) as server:
        for _ in range(3):
            await collect(OpenAIProvider(api_key="k", base_url=server.url).stream(ask()))
        assert (len(server.requests), server.connections) == (3, 1)


async def test_an_answered_stream_that_the_server_leaves_open_ends() -> None:
    async with serve(Reply([sse(chunk({"content": "x"}, "stop"))], end="open")) as server:
        answer = await collect(OpenAIProvider(api_key="k", base_url=server.url).stream(ask()))
    assert answer.stop is not None
