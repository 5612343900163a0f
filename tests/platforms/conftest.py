"""A bot on Telegram's stand-in, talking to a stand-in of Holdfast, all over real HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from linking.platforms import following, inviting, posting, telegram, telegram_receiver
from linking.platforms.client import Holdfast
from linking.platforms.memory import Memory
from tests.platforms.holdfast_stand_in import KEY, HoldfastStandIn
from tests.platforms.serving import serving
from tests.platforms.telegram_stand_in import TOKEN, TelegramStandIn

#: Seconds between two writes in a private chat and in a group: as far below the stand-in's limits as the real ones
#: are below Telegram's.
APART = (0.036, 0.055)
#: The Telegram id of ``ada``.
ADA = 1001


class Bots:
    """Starts and stops the adapter; its file outlives it."""

    def __init__(self, telegram_url: str, holdfast_url: str, path: Path) -> None:
        self.settings = {
            "TELEGRAM_TOKEN": TOKEN,
            "TELEGRAM_API_URL": telegram_url,
            "TELEGRAM_WEBHOOK_URL": "",
            "TELEGRAM_WEBHOOK_SECRET": "",
            "TELEGRAM_WEBHOOK_LISTEN": "127.0.0.1:0",
        }
        self.holdfast_url = holdfast_url
        self.path = path
        self.said: list[str] = []

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Event]:
        """Run the adapter; what is given stops it. It must end cleanly."""
        stop, ready = asyncio.Event(), asyncio.Event()

        def say(line: str) -> None:
            self.said.append(line)
            ready.set()

        async with Holdfast(self.holdfast_url, KEY) as holdfast:
            serving_bot = telegram.serve(self.settings, holdfast, Memory(self.path), stop, say, apart=APART)
            task = asyncio.create_task(serving_bot)
            waiting = asyncio.create_task(ready.wait())
            try:
                await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
                if task.done():
                    await task
                yield stop
            finally:
                stop.set()
                waiting.cancel()
                async with asyncio.timeout(5):
                    await task


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing wait longer than the stand-ins need."""
    monkeypatch.setattr(following, "GLANCE_SECONDS", 0.01)
    monkeypatch.setattr("linking.platforms.conversation.LOOK_SECONDS", 0.02)
    for module in (following, posting, telegram, telegram_receiver):
        monkeypatch.setattr(module, "AGAIN_SECONDS", 0.02)
    monkeypatch.setattr("linking.platforms.conversation.AGAIN_SECONDS", 0.02)
    monkeypatch.setattr(inviting, "LOOK_SECONDS", 0.02)


@pytest.fixture
async def chats() -> AsyncIterator[TelegramStandIn]:
    """Telegram."""
    stand_in = TelegramStandIn()
    async with serving(stand_in.application()) as stand_in.url:
        yield stand_in


@pytest.fixture
async def holdfast() -> AsyncIterator[HoldfastStandIn]:
    """Holdfast's bot API."""
    stand_in = HoldfastStandIn()
    async with serving(stand_in.application()) as stand_in.url:
        yield stand_in


@pytest.fixture
def ada(chats: TelegramStandIn, holdfast: HoldfastStandIn) -> dict[str, Any]:
    """A person whose private chat is linked."""
    holdfast.link("user", ADA)
    return chats.person(ADA, "Ada")


@pytest.fixture
def bots(chats: TelegramStandIn, holdfast: HoldfastStandIn, tmp_path: Path) -> Bots:
    """The adapter, not running yet."""
    return Bots(chats.url, holdfast.url, tmp_path / "bots" / "telegram.json")


@pytest.fixture
async def bot(bots: Bots) -> AsyncIterator[Bots]:
    """The adapter, running."""
    async with bots.running():
        yield bots
