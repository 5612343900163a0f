"""Providers that are not there, refuse, or break off: what a person gets of it, over real HTTP."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.process.clients import Rest, check_turn, following, rollbacks
from tests.process.servers import EmbeddedServer, free_port
from tests.providers.server import ProviderServer, Reply, Request, failure, serve, sse

pytestmark = pytest.mark.process

SECRET = "sk-local-abcdef0123456789"
SAID = ["Once ", "upon ", "a ", "time"]


@dataclass
class Model:
    """A provider that does as the user's last message says."""

    asked: dict[str, int] = field(default_factory=dict)

    def __call__(self, request: Request) -> Reply:
        """Answer one request."""
        wish = _wish(request)
        self.asked[wish] = self.asked.get(wish, 0) + 1
        if wish == "refuse":
            return failure(401, {"error": {"message": f"Incorrect API key provided: {SECRET}.", "type": "auth"}})
        pieces = [sse(_chunk({"content": word}), done=False) for word in SAID]
        if wish == "die" or (wish == "die once" and self.asked[wish] == 1):
            return Reply(pieces[:3], end="cut")
        return Reply([*pieces, sse(_chunk({}, "stop"))])


def _wish(request: Request) -> str:
    content = request.body["messages"][-1]["content"]
    text = content if isinstance(content, str) else content[0]["text"]
    return str(text).splitlines()[0].strip()


def _chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "c", "object": "chat.completion.chunk", "created": 0, "choices": [choice]}


@dataclass
class Chat:
    """A person in front of a server whose providers have problems."""

    server: EmbeddedServer
    key: str
    rest: Rest
    provider: ProviderServer

    async def ask(self, text: str, model: str) -> tuple[dict[str, Any], list[tuple[int, dict[str, Any]]], str]:
        """Send a message to a model and wait for the end; return the turn, its log and its session."""
        session = await self.rest.new_session()
        async with following(self.server, self.key, session) as follower:
            turn = await self.rest.start(session, text, model=model)
            ended = await self.rest.ended(turn, 20)
            log = await check_turn(self.rest, turn, follower)
        codes = [chunk["data"]["code"] for _, chunk in log if chunk["type"] == "data-error"]
        assert codes == ([ended["error"]["code"]] if ended["status"] == "failed" else [])
        return ended, log, session


@pytest.fixture
async def chat(data_dir: Path) -> AsyncIterator[Chat]:
    async with serve(Model()) as provider:
        others = {
            "local": {"api": "openai", "base_url": f"{provider.url}/v1", "api_key": SECRET},
            "keyless": {"api": "openai", "base_url": f"{provider.url}/v1", "api_key": ""},
        }
        env = {
            "OPENAI_BASE_URL": f"http://127.0.0.1:{free_port()}/v1",
            "COPILOT_PROVIDERS": json.dumps(others),
            "COPILOT_DEFAULT_MODEL": "demo/demo",
        }
        with EmbeddedServer(data_dir, env) as server:
            key = server.issue_key()
            async with Rest(server, key) as rest:
                yield Chat(server, key, rest, provider)


async def test_problems_of_providers_end_turns_in_plain_words(chat: Chat) -> None:
    """One server for all of them: none may leave anything behind that harms the next."""
    dead, _, _ = await chat.ask("hello", "openai/some-model")
    assert (dead["status"], dead["error"]["code"], dead["error"]["retryable"]) == ("failed", "network", True)
    for model in ("anthropic/some-model", "keyless/some-model"):
        turn, _, _ = await chat.ask("hello", model)
        assert (turn["status"], turn["error"]["code"]) == ("failed", "not_configured")
        assert turn["error"]["hint"]
    assert not chat.provider.requests
    refused, _, session = await chat.ask("refuse", "local/some-model")
    assert (refused["status"], refused["error"]["code"], refused["error"]["retryable"]) == (
        "failed",
        "auth",
        False,
    )
    assert len(chat.provider.requests) == 1, "asking again would not help"
    assert SECRET not in json.dumps(refused)
    assert [message["state"] for message in await chat.rest.messages(session)] == ["done", "failed"]


async def test_a_stream_that_dies_is_tried_again_and_its_text_kept(chat: Chat) -> None:
    turn, log, session = await chat.ask("die", "local/some-model")
    assert (turn["status"], turn["error"]["code"]) == ("failed", "network")
    assert turn["text"] == "".join(SAID[:3])
    assert rollbacks(log) == 2
    assert len(chat.provider.requests) == 3
    assert [message["state"] for message in await chat.rest.messages(session)] == ["done", "partial"]

    turn, log, _ = await chat.ask("die once", "local/some-model")
    assert (turn["status"], turn["text"], rollbacks(log)) == ("completed", "".join(SAID), 1)
    assert SECRET not in chat.server.server.output()
