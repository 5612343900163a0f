"""Discord's interactions as signed requests: who is let in, what is answered, and that nothing is done twice."""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from linking.platforms import discord as adapter
from linking.platforms.base import SetupError
from linking.platforms.client import Holdfast
from linking.platforms.discord_events import SIGNED_SECONDS, Webhook
from linking.platforms.memory import Memory
from tests.platforms.discord_stand_in import GUILD, TOKEN, DiscordStandIn
from tests.platforms.holdfast_stand_in import KEY as HOLDFAST_KEY
from tests.platforms.holdfast_stand_in import HoldfastStandIn
from tests.platforms.running import running

ADA = "500000000000000001"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
NOW = 1_800_000_000


def signed(body: bytes, *, key: Ed25519PrivateKey = KEY, at: float = NOW) -> dict[str, str]:
    """Return the headers by which Discord signs a request."""
    timestamp = str(int(at))
    return {
        "X-Signature-Ed25519": key.sign(timestamp.encode() + body).hex(),
        "X-Signature-Timestamp": timestamp,
    }


def taker() -> tuple[Webhook, list[dict[str, Any]]]:
    """Return a webhook whose clock stands still, and what it hands over."""
    taken: list[dict[str, Any]] = []

    def answer(data: dict[str, Any]) -> dict[str, Any]:
        taken.append(data)
        return {"type": 1}

    return Webhook(KEY.public_key(), answer, clock=lambda: NOW), taken


PING = b'{ "type" : 1 , "id":"1", "token": "\xc3\xa9" }'
FORGED = {
    "another-key": signed(PING, key=OTHER),
    "another-time": {**signed(PING), "X-Signature-Timestamp": str(NOW + 1)},
    "another-body": signed(PING + b" "),
    "too-old": signed(PING, at=NOW - SIGNED_SECONDS - 1),
    "of-the-future": signed(PING, at=NOW + SIGNED_SECONDS + 1),
    "no-hexadecimal": {**signed(PING), "X-Signature-Ed25519": "signature"},
    "no-signature": {"X-Signature-Timestamp": str(NOW)},
    "no-time": {"X-Signature-Ed25519": signed(PING)["X-Signature-Ed25519"]},
    "nothing": {},
}


async def test_a_signed_request_is_answered_whatever_its_spaces() -> None:
    webhook, taken = taker()
    answer = await webhook.take(signed(PING), PING)
    assert (answer.status, json.loads(answer.body), len(taken)) == (200, {"type": 1}, 1)


@pytest.mark.parametrize("name", FORGED)
async def test_what_discord_did_not_sign_just_now_is_refused(name: str) -> None:
    webhook, taken = taker()
    assert ((await webhook.take(FORGED[name], PING)).status, taken) == (401, [])


async def test_the_same_interaction_again_has_the_same_answer_and_no_effect() -> None:
    webhook, taken = taker()
    answers = [await webhook.take(signed(PING), PING) for _ in range(3)]
    assert len({answer.body for answer in answers}) == 1
    assert len(taken) == 1


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"{", 400), (b"[]", 400), (b"\xff", 400), (b'{"type":0}', 204)],
    ids=["cut", "list", "no-text", "news"],
)
async def test_what_is_no_interaction_does_nothing(body: bytes, status: int) -> None:
    webhook, taken = taker()
    assert ((await webhook.take(signed(body), body)).status, taken) == (status, [])


@pytest.fixture
async def discord() -> AsyncIterator[DiscordStandIn]:
    """Discord."""
    async with DiscordStandIn() as stand_in:
        yield stand_in
    assert stand_in.violations == []


def settings_for(discord: DiscordStandIn, key: str) -> dict[str, str]:
    """Return the adapter's settings."""
    return {
        "DISCORD_TOKEN": TOKEN,
        "DISCORD_API_URL": discord.api_url,
        "DISCORD_PUBLIC_KEY": key,
        "DISCORD_WEBHOOK_LISTEN": "127.0.0.1:0",
    }


@pytest.fixture
async def url(discord: DiscordStandIn, holdfast: HoldfastStandIn, tmp_path: Path) -> AsyncIterator[str]:
    """Where the running adapter takes interactions."""
    settings = settings_for(discord, KEY.public_key().public_bytes_raw().hex())
    async with running(adapter, settings, holdfast.url, tmp_path / "discord.json") as said:
        port = said[0].split("port ")[1].split(".")[0]
        yield f"http://127.0.0.1:{port}/discord"


async def deliver(discord: DiscordStandIn, url: str, data: dict[str, Any]) -> dict[str, Any]:
    """Send an interaction as Discord does, and take the answer as Discord does."""
    body = json.dumps(data).encode()
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, data=body, headers=signed(body, at=time.time())) as answer,
    ):
        assert (answer.status, answer.content_type) == (200, "application/json")
        found: dict[str, Any] = await answer.json()
    # Discord makes the address for more answers only now.
    discord.interactions[data["token"]].answers.insert(0, {"type": found["type"], **(found.get("data") or {})})
    return found


async def test_asking_and_deciding_work_without_the_gateway(
    discord: DiscordStandIn, holdfast: HoldfastStandIn, url: str
) -> None:
    holdfast.link("server", GUILD, ADA)
    channel = discord.public()
    data = {"name": "ask", "options": [{"name": "text", "type": 3, "value": "note hi"}]}
    answer = await deliver(discord, url, discord.interaction(2, channel, ADA, data))
    assert (answer["type"], answer["data"]["content"]) == (4, "> note hi")
    turn = await holdfast.turn()
    request = {"tool_call_id": "1", "name": "n", "arguments": {}, "allowed_decisions": ["approve"]}
    await turn.asks(requests=[request])
    [card] = await discord.until(lambda: discord.of_bot(channel))
    pressed = discord.interaction(3, channel, ADA, {"custom_id": card.buttons[0]["custom_id"]}, card.id)
    assert await deliver(discord, url, pressed) == {"type": 6}
    await holdfast.until(lambda: holdfast.decided)
    assert discord.sessions == {}


async def test_an_answer_that_is_ready_too_early_waits_for_discord(
    discord: DiscordStandIn, holdfast: HoldfastStandIn, url: str
) -> None:
    data = discord.interaction(2, discord.public(), ADA, {"name": "help"})
    await deliver(discord, url, data)
    used = discord.interactions[data["token"]]
    await discord.until(lambda: "an agent answers" in used.words)
    assert used.answers[0] == {"type": 5, "flags": 64}


async def test_requests_that_are_too_large_or_forged_get_nowhere(
    discord: DiscordStandIn, holdfast: HoldfastStandIn, url: str
) -> None:
    async with aiohttp.ClientSession() as session:
        for body, status in ((b"x" * 2_000_000, 413), (b"{}", 401)):
            async with session.post(url, data=io.BytesIO(body)) as answer:
                assert answer.status == status
        async with session.get(url) as answer:
            assert answer.status == 405


async def test_a_bad_public_key_is_a_line(
    discord: DiscordStandIn, holdfast: HoldfastStandIn, tmp_path: Path
) -> None:
    stop = asyncio.Event()
    async with Holdfast(holdfast.url, HOLDFAST_KEY) as client:
        with pytest.raises(SetupError, match=r"^DISCORD_PUBLIC_KEY: expected the 64 hexadecimal digits"):
            await adapter.serve(settings_for(discord, "abc"), client, Memory(None), stop, lambda line: None)
        wrong = {**settings_for(discord, ""), "DISCORD_TOKEN": "wrong"}
        with pytest.raises(SetupError, match=r"^DISCORD_TOKEN: Discord does not know it"):
            await adapter.serve(wrong, client, Memory(None), stop, lambda line: None)
        taken = {**settings_for(discord, "00" * 32), "DISCORD_WEBHOOK_LISTEN": f"127.0.0.1:{discord.port}"}
        with pytest.raises(SetupError, match=r"^DISCORD_WEBHOOK_LISTEN: nobody can listen"):
            await adapter.serve(taken, client, Memory(None), stop, lambda line: None)
