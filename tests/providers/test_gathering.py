"""What comes in one piece goes its way in one piece, and when much is going on pieces may gather."""

from __future__ import annotations

from typing import Any

import pytest

from copilot.providers.base import ProviderError, Reasoning, StreamPart, Text, Usage
from copilot.providers.openai import OpenAIProvider
from copilot.providers.transport import _joined
from tests.providers.answers import ask, collect
from tests.providers.server import Reply, serve, sse


def joined(*parts: StreamPart) -> list[StreamPart]:
    return list(_joined(iter(parts)))


def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def test_neighbouring_deltas_are_joined_and_nothing_else_is() -> None:
    assert joined(Text("a"), Text("b"), Usage(1), Text("c")) == [Text("ab"), Usage(1), Text("c")]
    assert joined(Reasoning("a"), Reasoning("b"), Text("c")) == [Reasoning("ab"), Text("c")]
    assert joined() == []


def test_reasoning_that_was_closed_stays_closed() -> None:
    seal = {"signature": "s"}
    assert joined(Reasoning("a"), Reasoning("b", seal), Reasoning("c")) == [Reasoning("ab", seal), Reasoning("c")]


def test_what_came_before_an_error_comes_before_it() -> None:
    def parts() -> Any:
        yield Text("a")
        yield Text("b")
        raise ProviderError("overloaded", "Too much.")

    stream = _joined(parts())
    assert next(stream) == Text("ab")
    with pytest.raises(ProviderError):
        next(stream)


async def test_the_answer_is_the_same_however_long_pieces_gather() -> None:
    pieces = [sse(chunk({"content": f"{n} "}), done=False) for n in range(50)] + [sse(chunk({}, "stop"))]
    pauses = 0

    def pause() -> float:
        nonlocal pauses
        pauses += 1
        return 0.002

    async with serve(Reply(pieces)) as server:
        provider = OpenAIProvider(api_key="k", base_url=server.url)
        at_once = await collect(provider.stream(ask()))
        gathered = await collect(provider.stream(ask(pause=pause)))
    assert gathered == at_once
    assert at_once.text == "".join(f"{n} " for n in range(50))
    assert pauses
