"""Models behind real HTTP servers, for whole turns: what they say, and how they fail."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from pytest_django import Settings

from tests.providers.chat import call, chunk
from tests.providers.server import ProviderServer, Reply, Script, failure, serve, sse

OVERLOADED = failure(503, {"error": {"message": "The server is busy."}})
USAGE = {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14}


def says(*deltas: str, usage: dict[str, Any] | None = USAGE, **named: Any) -> Reply:
    """Answer with a text, in pieces."""
    chunks = [chunk({"content": delta}, **named) for delta in deltas]
    return Reply([sse(*chunks, chunk({}, "stop"), *_usage(usage))])


def calls(name: str, arguments: str = "{}", usage: dict[str, Any] | None = USAGE) -> Reply:
    """Answer with a tool call."""
    made = chunk(call(arguments, index=0, id="call_1", name=name))
    return Reply([sse(made, chunk({}, "tool_calls"), *_usage(usage))])


def breaks_off(*deltas: str, **over: Any) -> Reply:
    """Begin an answer, then lose the connection (or leave it ``open``)."""
    chunks = sse(*(chunk({"content": delta}) for delta in deltas), done=False)
    return Reply([chunks], **{"end": "cut", **over})


def _usage(usage: dict[str, Any] | None) -> list[Any]:
    return (
        [{"id": "c", "object": "chat.completion.chunk", "created": 0, "choices": [], "usage": usage}]
        if usage
        else []
    )


def thinks_and_calls(name: str) -> Reply:
    """Answer in the Messages API: signed thinking, then a tool call."""
    events = [
        {"type": "message_start", "message": {"id": "m", "content": [], "usage": {"input_tokens": 5}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "Hm."}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "c2ln"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1,
         "content_block": {"type": "tool_use", "id": "toolu_1", "name": name, "input": {}}},
        {"type": "content_block_stop", "index": 1},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 9}},
        {"type": "message_stop"},
    ]  # fmt: skip
    return Reply([sse(*events, done=False, named=True)])


@asynccontextmanager
async def models(
    settings: Settings, *, apis: dict[str, str] | None = None, **scripts: Script | Reply | Iterable[Reply]
) -> AsyncIterator[dict[str, ProviderServer]]:
    """Run a server for each provider that is named; their models are ``name/m``.

    Args:
        apis: what a provider speaks, chat completions where nothing is said.
    """
    async with AsyncExitStack() as stack:
        servers = {name: await stack.enter_async_context(serve(script)) for name, script in scripts.items()}
        kinds = {"openai": "/v1", "anthropic": ""}
        settings.COPILOT_PROVIDERS = {
            name: {"api": api, "base_url": server.url + kinds[api], "api_key": "sk-0123456789"}
            for name, server in servers.items()
            for api in [(apis or {}).get(name, "openai")]
        }
        yield servers
