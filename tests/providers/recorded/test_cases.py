"""Recorded streams of real providers, compared with what the official SDKs made of them.

They are not ours to pass on: where the recordings are not at hand, these tests are skipped.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from tests.providers.answers import Answer, ask, collect
from tests.providers.recorded.recordings import CASES, ORACLE, body_of, params, provider_of, reply_of
from tests.providers.server import Reply, failure, serve, split

ALL = list(CASES.values())
STREAMS = [case for case in ALL if case["stream"] and case["response_status"] == 200]
WHOLE = [case for case in ALL if not case["stream"] and case["response_status"] == 200]
FAILURES = [case for case in ALL if case["response_status"] >= 400]
#: A proxy spliced two messages: the SDK joins the arguments of calls that have nothing to do with each other.
_SPLICED = "anthropic-proxy-spliced-message-start"
#: The model's thoughts are inline in its text, which the SDK leaves there.
_INLINE = ("huggingface-json-length",)


def _digest(text: str) -> dict[str, Any]:
    return {"len": len(text), "sha256_16": hashlib.sha256(text.encode()).hexdigest()[:16]}


@pytest.mark.parametrize("size", [7, 17, 0])
@pytest.mark.parametrize("case", params(STREAMS))
async def test_streams_are_read_as_the_sdks_read_them(case: dict[str, Any], size: int) -> None:
    body = body_of(case)
    if size and len(body) > 60_000:
        size = 4093
    async with serve(Reply(split(body, size))) as server:
        answer = await collect(provider_of(case, server.url).stream(ask()))
    _compare(case, answer, body)


@pytest.mark.parametrize("case", params(WHOLE))
async def test_answers_without_a_stream_are_read_too(case: dict[str, Any]) -> None:
    async with serve(reply_of(case)) as server:
        answer = await collect(provider_of(case, server.url).stream(ask()))
    _compare(case, answer, b"[DONE]")


def _compare(case: dict[str, Any], answer: Answer, body: bytes) -> None:
    oracle = ORACLE[case["name"]]
    _compare_end(answer, oracle, body)
    if "content_not_str" not in oracle and case["name"] not in _INLINE:
        text = oracle.get("text") or _digest("")
        assert _digest(answer.text) == {key: text[key] for key in ("len", "sha256_16")}
    if thought := oracle.get("reasoning") or oracle.get("thinking"):
        assert _digest(answer.reasoning) == {key: thought[key] for key in ("len", "sha256_16")}
    _compare_calls(case["name"], answer, oracle)
    _compare_usage(answer, oracle.get("usage"))


def _compare_end(answer: Answer, oracle: dict[str, Any], body: bytes) -> None:
    marked = any(mark in body for mark in (b"[DONE]", b"message_stop", b"response.completed"))
    ended = marked or oracle.get("finish_reason")
    fails = bool(oracle.get("error")) or not ended
    assert (answer.error is not None) == fails, answer.error
    assert (answer.stop is None) == fails
    if answer.error and not oracle.get("error"):
        assert answer.error.code == "network"


def _compare_calls(name: str, answer: Answer, oracle: dict[str, Any]) -> None:
    expected = oracle.get("tool_calls") or oracle.get("tool_uses") or oracle.get("function_calls") or []
    assert [call.name for call in answer.calls.values()] == [call["name"] for call in expected]
    given = [call.get("call_id") or call["id"] for call in expected]
    if all(given) and len(set(given)) == len(given):
        assert [call.id for call in answer.calls.values()] == given
    cut = answer.stop is None or answer.stop.reason == "length"
    if cut or name == _SPLICED:
        return
    for (_, arguments), call in zip(answer.called(), expected, strict=True):
        wanted = call["arguments"] if "arguments" in call else call["input"]
        wanted = json.loads(wanted or "{}") if isinstance(wanted, str) else wanted
        assert json.loads(arguments or "{}") == wanted


def _compare_usage(answer: Answer, usage: dict[str, Any] | None) -> None:
    if not usage:
        return
    assert answer.usage is not None
    if "prompt_tokens" in usage:
        assert answer.usage.input_tokens == usage["prompt_tokens"]
        assert answer.usage.output_tokens == max(
            usage["completion_tokens"], usage.get("total_tokens", 0) - usage["prompt_tokens"]
        )
        if isinstance(cost := usage.get("cost"), float | int):
            assert answer.usage.cost_microdollars is not None
            assert abs(answer.usage.cost_microdollars - cost * 1e6) <= 0.5
        return
    if "input_tokens_details" in usage:
        assert answer.usage.input_tokens == usage["input_tokens"]
        assert answer.usage.output_tokens == usage["output_tokens"]
        assert answer.usage.cache_read_tokens == usage["input_tokens_details"]["cached_tokens"]
        assert answer.usage.reasoning_tokens == usage["output_tokens_details"]["reasoning_tokens"]
        return
    cached = (usage.get("cache_read_input_tokens") or 0) + (usage.get("cache_creation_input_tokens") or 0)
    # Billed iterations, which the SDK's total leaves out, may add to it.
    assert answer.usage.input_tokens >= usage["input_tokens"] + cached
    assert answer.usage.output_tokens >= usage["output_tokens"]
    assert answer.usage.cache_read_tokens == (usage.get("cache_read_input_tokens") or 0)


@pytest.mark.parametrize("case", params(FAILURES))
async def test_failures_are_never_taken_for_answers(case: dict[str, Any]) -> None:
    async with serve(failure(case["response_status"], body_of(case).decode())) as server:
        answer = await collect(provider_of(case, server.url).stream(ask()))
        assert len(server.requests) == 1
    assert answer.error is not None
    assert answer.stop is None
    assert answer.error.detail
    status, name = case["response_status"], case["name"]
    assert answer.error.transient == (status >= 500 or (status == 429 and "too-large" not in name))
    if any(word in name for word in ("credit", "quota")):
        assert answer.error.code == "quota"
    if any(word in name for word in ("too-long", "context-length", "too-large")):
        assert answer.error.code == "context_overflow"
