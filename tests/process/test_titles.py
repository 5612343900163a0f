"""A session is named by a task that passes the broker, on both stacks, and the title of a person stays."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.process.clients import Rest
from tests.process.servers import EmbeddedServer, ScaledStack, Stack
from tests.providers.chat import chunk
from tests.providers.server import Reply, Request, serve, sse

pytestmark = pytest.mark.process
SECONDS = 20.0


def said(text: str) -> Reply:
    return Reply([sse(chunk({"content": text}), chunk(finish="stop"))])


def model(request: Request) -> Reply:
    """Answer, and name what was answered."""
    return said("Naming Sessions" if request.body["model"] == "small" else "Hello there.")


@pytest.mark.parametrize("kind", [EmbeddedServer, pytest.param(ScaledStack, marks=pytest.mark.scaled)])
async def test_it_is_named_after_its_first_answer(data_dir: Path, kind: type[Stack]) -> None:
    async with serve(model) as provider:
        local = {"local": {"api": "openai", "base_url": f"{provider.url}/v1"}}
        env = {
            "COPILOT_PROVIDERS": json.dumps(local),
            "COPILOT_DEFAULT_MODEL": "local/large",
            "COPILOT_TITLE_MODEL": "local/small",
        }
        with kind(data_dir, env) as stack:
            async with Rest(stack, stack.issue_key()) as rest:
                session, mine = await rest.new_session(), await rest.new_session(title="Mine")
                for each in (mine, session):
                    await rest.ended(await rest.start(each, "How are sessions named?"), SECONDS)
                async with asyncio.timeout(SECONDS):
                    while (shown := await rest.get(f"sessions/{session}"))["title_source"] == "auto":  # noqa: ASYNC110
                        await asyncio.sleep(0.05)
                assert (shown["title"], shown["title_source"]) == ("Naming Sessions", "model")
                assert (await rest.get(f"sessions/{mine}"))["title"] == "Mine"
                newest = await rest.get("sessions")
                assert [each["id"] for each in newest["results"]] == [session, mine]
    assert sum(request.body["model"] == "small" for request in provider.requests) == 1
