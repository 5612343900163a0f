"""A model whose summaries a test writes, and a window that is soon full.

Fixtures for those that import them: ``summaries``, ``talked``, ``small``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest
from pytest_django import Settings

from common.db import db
from copilot.agent import prompt, summary
from copilot.models import Session
from copilot.providers.base import ModelRequest, ProviderError, Stop, StreamPart, Text, Usage
from copilot.providers.demo import DemoProvider
from copilot.tools.base import Tool
from tests.factories import make_session
from tests.harness import Crew

LONG = "/words 400"  # about 500 tokens
SAID = "They talked about counting."


class Summaries:
    """What the model answers when it is asked for a summary, and what it was asked."""

    def __init__(self) -> None:
        self.requests: list[ModelRequest] = []
        self.errors: list[ProviderError] = []
        self.text = SAID
        #: Set to have a summary wait until it is told to go on.
        self.wait: asyncio.Event | None = None
        self.asked = asyncio.Event()

    async def stream(self, request: ModelRequest) -> AsyncGenerator[StreamPart, None]:
        self.requests.append(request)
        self.asked.set()
        if self.wait is not None:
            await self.wait.wait()
        if self.errors:
            raise self.errors.pop(0)
        yield Text(self.text)
        yield Usage(input_tokens=7, output_tokens=3)
        yield Stop("stop")


@pytest.fixture
def summaries(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> Summaries:
    """Have summaries written by the test; what else is asked goes to the demo model as ever."""
    said = Summaries()
    stream = DemoProvider.stream

    def told(self: DemoProvider, request: ModelRequest) -> Any:
        return said.stream(request) if request.system == prompt.SUMMARISER else stream(self, request)

    monkeypatch.setattr(DemoProvider, "stream", told)
    monkeypatch.setattr(summary, "PAUSE_MAX", 0)
    return said


@pytest.fixture
async def talked(crew: Crew) -> Session:
    """A session in which two long answers were given."""
    await crew.hire()
    session = await db(make_session)
    await crew.say(LONG, session)
    await crew.say(LONG, session)
    crew.requests.clear()
    return session


@pytest.fixture
def small(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that gives the model a window of so many tokens, and these tools."""

    def choose(tokens: int, *tools: Tool) -> None:
        monkeypatch.setattr("copilot.agent.state.offered_tools", lambda *_, **__: list(tools))
        settings.COPILOT_CONTEXT_TOKENS = tokens

    return choose
