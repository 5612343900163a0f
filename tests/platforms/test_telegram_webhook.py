"""Updates that Telegram delivers: proven, answered in any case, and asked for again when Holdfast is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from linking.platforms import telegram_webhook
from linking.platforms.base import SetupError
from linking.platforms.telegram_webhook import HEADER, is_telegram
from tests.platforms.conftest import Bots
from tests.platforms.holdfast_stand_in import HoldfastStandIn
from tests.platforms.telegram_stand_in import TelegramStandIn

ADA = 1001
SECRET = "made-up_SECRET-9"


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def address(bots: Bots) -> AsyncIterator[str]:
    """Where the running adapter takes updates."""
    bots.settings |= {"TELEGRAM_WEBHOOK_URL": "https://bots.example/telegram", "TELEGRAM_WEBHOOK_SECRET": SECRET}
    async with bots.running():
        port = bots.said[0].split("port ")[1].split(".")[0]
        yield f"http://127.0.0.1:{port}/telegram"


def _update(text: str, message: int = 1) -> dict[str, Any]:
    sender = {"id": ADA, "is_bot": False, "first_name": "Ada"}
    chat = {"id": ADA, "type": "private", "first_name": "Ada"}
    return {
        "update_id": 7,
        "message": {"message_id": message, "from": sender, "chat": chat, "date": 1, "text": text},
    }


async def test_an_update_becomes_a_turn(
    address: str, http: aiohttp.ClientSession, chats: TelegramStandIn, holdfast: HoldfastStandIn
) -> None:
    chats.person(ADA, "Ada")
    holdfast.link("user", ADA)
    assert chats.webhook["secret_token"] == SECRET
    async with http.post(address, json=_update("hello"), headers={HEADER: SECRET}) as answer:
        assert answer.status == 200
    [sent] = holdfast.sent
    assert sent["text"] == "hello"


@pytest.mark.parametrize("header", [None, "", "made-up_SECRET-8", "made-up_SECRET-99", "ä"], ids=str)
async def test_who_does_not_know_the_secret_is_refused(
    address: str, http: aiohttp.ClientSession, holdfast: HoldfastStandIn, header: str | None
) -> None:
    holdfast.link("user", ADA)
    headers = {} if header is None else {HEADER: header}
    async with http.post(address, json=_update("hello"), headers=headers) as answer:
        assert answer.status == 403
    assert holdfast.sent == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b'{"message": 1}',
        b'{"message": {"chat": []}}',
        b'{"callback_query": {}}',
        b"[" * 99_999,
    ],
    ids=["empty", "cut", "list", "null", "bytes", "number", "list-chat", "no-query", "deep"],
)
async def test_what_cannot_be_read_is_answered_all_the_same(
    address: str, http: aiohttp.ClientSession, body: bytes
) -> None:
    async with http.post(address, data=body, headers={HEADER: SECRET}) as answer:
        assert answer.status == 200


async def test_telegram_is_asked_to_deliver_again_when_holdfast_is_away(
    address: str,
    http: aiohttp.ClientSession,
    chats: TelegramStandIn,
    holdfast: HoldfastStandIn,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(telegram_webhook, "PATIENCE_SECONDS", 0.05)
    chats.person(ADA, "Ada")
    holdfast.link("user", ADA)
    holdfast.down = True
    async with http.post(address, json=_update("hello"), headers={HEADER: SECRET}) as answer:
        assert answer.status == 503
    holdfast.down = False
    for _ in range(2):
        async with http.post(address, json=_update("hello"), headers={HEADER: SECRET}) as answer:
            assert answer.status == 200
    assert len(holdfast.sent) == 1


@pytest.mark.parametrize("secret", ["", "has space", "x" * 257], ids=["none", "space", "long"])
async def test_a_secret_that_telegram_would_refuse_stops_the_start(bots: Bots, secret: str) -> None:
    bots.settings |= {"TELEGRAM_WEBHOOK_URL": "https://bots.example/", "TELEGRAM_WEBHOOK_SECRET": secret}
    with pytest.raises(SetupError, match="TELEGRAM_WEBHOOK_SECRET"):
        async with bots.running():
            pass


async def test_an_address_that_cannot_be_listened_on_stops_the_start(bots: Bots) -> None:
    bots.settings |= {"TELEGRAM_WEBHOOK_URL": "https://bots.example/", "TELEGRAM_WEBHOOK_SECRET": SECRET}
    bots.settings["TELEGRAM_WEBHOOK_LISTEN"] = "127.0.0.1:none"
    with pytest.raises(SetupError, match="TELEGRAM_WEBHOOK_LISTEN"):
        async with bots.running():
            pass


def test_no_header_is_never_right() -> None:
    assert is_telegram(SECRET, SECRET)
    assert not is_telegram("", "")
    assert not is_telegram(SECRET, None)


async def test_updates_of_one_chat_that_arrive_together_are_each_taken(
    address: str, http: aiohttp.ClientSession, chats: TelegramStandIn, holdfast: HoldfastStandIn
) -> None:
    chats.person(ADA, "Ada")
    holdfast.link("user", ADA)

    async def deliver(n: int) -> int:
        async with http.post(address, json=_update(f"m{n}", n), headers={HEADER: SECRET}) as answer:
            return answer.status

    assert await asyncio.gather(*(deliver(n) for n in range(1, 6))) == [200] * 5
    assert sorted(sent["text"] for sent in holdfast.sent) == [f"m{n}" for n in range(1, 6)]
