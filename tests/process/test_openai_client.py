"""The official client of OpenAI's API before a real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.process.asking import query
from tests.process.clients import Rest, eventually
from tests.process.servers import EmbeddedServer

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(tmp_path_factory.mktemp("openai") / "data") as running:
        yield running


@pytest.fixture(scope="module")
def key(server: EmbeddedServer) -> str:
    return server.issue_key()


def client_of(server: EmbeddedServer, key: str, **options: Any) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{server.url}/api/v1/openai", api_key=key, **options)


def ask(text: str) -> Any:
    return {"model": "demo/demo", "messages": [{"role": "user", "content": text}]}


async def test_the_client_asks_streams_and_lists(server: EmbeddedServer, key: str) -> None:
    async with client_of(server, key) as client:
        whole = await client.chat.completions.create(**ask("/words 5"))
        stream = await client.chat.completions.create(
            **ask("/think so\n/words 5"), stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
        models = [model.id async for model in client.models.list()]
        assert (await client.models.retrieve("demo/demo")).id in models
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert said == whole.choices[0].message.content == "w1 w2 w3 w4 w5"
    assert (chunks[-2].choices[0].finish_reason, whole.choices[0].finish_reason) == ("stop", "stop")
    assert chunks[-1].usage is not None
    assert whole.usage is not None
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens == 5


async def test_the_clients_own_accumulator_reads_the_stream(server: EmbeddedServer, key: str) -> None:
    async with client_of(server, key) as client, client.chat.completions.stream(**ask("/words 3")) as stream:
        completion = await stream.get_final_completion()
    assert completion.choices[0].message.content == "w1 w2 w3"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"model": "demo/dem"}, openai.NotFoundError),
        ({"n": 2}, openai.BadRequestError),
        ({"messages": ask("/fail rate_limit")["messages"]}, openai.RateLimitError),
        ({"messages": ask("/fail context_overflow")["messages"]}, openai.BadRequestError),
        ({"messages": ask("/fail overloaded")["messages"]}, openai.InternalServerError),
        ({"extra_headers": {"Authorization": "Bearer hf_wrong"}}, openai.AuthenticationError),
    ],
    ids=["unknown_model", "two_answers", "rate_limit", "too_long", "overloaded", "wrong_key"],
)
async def test_the_client_raises_what_fits(
    server: EmbeddedServer, key: str, change: dict[str, Any], expected: type[openai.APIStatusError]
) -> None:
    sent: list[Any] = []

    async def count(request: Any) -> None:
        sent.append(request)

    async with client_of(server, key, max_retries=2) as client:
        client._client.event_hooks["request"].append(count)
        with pytest.raises(expected) as raised:
            await client.chat.completions.create(**{**ask("/words 1"), **change})
    assert raised.value.code
    assert raised.value.message
    assert len(sent) == 1  # a turn that failed has had its effects: it is not begun again


async def test_an_error_in_a_stream_is_raised_with_its_code(server: EmbeddedServer, key: str) -> None:
    async with client_of(server, key) as client:
        stream = await client.chat.completions.create(**ask("/faillate quota"), stream=True)
        with pytest.raises(openai.APIError) as raised:
            _ = [chunk async for chunk in stream]
    assert raised.value.code == "quota"


async def test_a_client_that_leaves_a_stream_stops_its_turn(server: EmbeddedServer, key: str) -> None:
    async with client_of(server, key) as client, Rest(server, key) as rest:
        stream = await client.chat.completions.create(**ask("/sleep 50"), stream=True)
        turn = (await anext(aiter(stream))).id.removeprefix("chatcmpl-")
        await stream.close()
        assert (await rest.ended(turn, 10))["status"] == "cancelled"


async def test_a_client_that_leaves_before_its_whole_answer_stops_the_turn(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path / "data") as server:
        async with client_of(server, server.issue_key(), max_retries=0, timeout=2) as client:
            with pytest.raises(openai.APITimeoutError):
                await client.chat.completions.create(**ask("/sleep 50"))

        async def stopped() -> bool:
            return query(server, "SELECT status FROM copilot_turn") == [("cancelled",)]

        await eventually("stopped turn", stopped, 10)


async def test_a_call_with_a_key_survives_the_server(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path / "data") as server:
        key = server.issue_key()
        call = {**ask("/words 40 50"), "extra_headers": {"Idempotency-Key": "one"}}
        async with client_of(server, key, max_retries=0) as client:
            stream = await client.chat.completions.create(**call, stream=True)
            first = await anext(aiter(stream))
            server.server.kill()
            server.restart()
            again = await client.chat.completions.create(**call)
        assert again.id == first.id
        assert again.choices[0].message.content == " ".join(f"w{n}" for n in range(1, 41))
        server.check_invariants()
