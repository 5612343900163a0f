"""Discord's rate limits as its answers tell them: what is used up is not asked for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from linking.platforms import asking, discord_rest
from linking.platforms.base import Refused, TooFast, Unavailable
from linking.platforms.discord_events import Events
from linking.platforms.discord_rest import DiscordRest, Limits
from tests.platforms.discord_stand_in import TOKEN, DiscordStandIn

PERSON = "500000000000000001"
HELLO = {"content": "hello", "allowed_mentions": {"parse": []}}


@pytest.fixture
async def discord() -> AsyncIterator[DiscordStandIn]:
    """Discord, which takes three messages in a channel and then none for a long while."""
    async with DiscordStandIn(bucket=3, window=30) as stand_in:
        yield stand_in


@pytest.fixture
async def rest(discord: DiscordStandIn, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[DiscordRest]:
    """A client of it."""
    monkeypatch.setattr(asking, "AGAIN_SECONDS", 0.01)
    async with DiscordRest(TOKEN, discord.api_url) as client:
        yield client


async def test_a_bucket_that_is_used_up_is_not_asked_for(discord: DiscordStandIn, rest: DiscordRest) -> None:
    path = f"/channels/{discord.private(PERSON)}/messages"
    for _ in range(3):
        await rest.ask("POST", path, HELLO)
    with pytest.raises(TooFast) as raised:
        await rest.ask("POST", path, HELLO)
    assert 25 < raised.value.seconds <= 30
    assert discord.refusals == 0
    # Other channels and other kinds of requests have limits of their own.
    await rest.ask("POST", f"/channels/{discord.public()}/messages", HELLO)
    await rest.ask("POST", path.replace("messages", "typing"))


async def test_routes_of_one_bucket_share_it(discord: DiscordStandIn, rest: DiscordRest) -> None:
    channel = discord.private(PERSON)
    made = [await rest.ask("POST", f"/channels/{channel}/messages", HELLO) for _ in range(2)]
    for _ in range(3):
        await rest.ask("PATCH", f"/channels/{channel}/messages/{made[0]['id']}", HELLO)
    with pytest.raises(TooFast):
        # Another message, the same route.
        await rest.ask("PATCH", f"/channels/{channel}/messages/{made[1]['id']}", HELLO)
    assert discord.refusals == 0


async def test_patience_waits_for_the_window_to_end(discord: DiscordStandIn, rest: DiscordRest) -> None:
    discord.window = 0.1
    path = f"/channels/{discord.private(PERSON)}/messages"
    for _ in range(7):
        await rest.ask("POST", path, HELLO, patience=5)
    assert discord.refusals == 0


async def test_a_refusal_for_everything_holds_every_route(discord: DiscordStandIn, rest: DiscordRest) -> None:
    discord.next_answers = [(429, {"retry_after": 20.5, "global": True}, {"X-RateLimit-Global": "true"})]
    for path in ("/gateway/bot", "/applications/@me"):
        with pytest.raises(TooFast) as raised:
            await rest.ask("GET", path)
        assert raised.value.seconds == pytest.approx(20.5, abs=0.5)


async def test_a_refusal_without_words_is_believed(discord: DiscordStandIn, rest: DiscordRest) -> None:
    discord.next_answers = [(429, {}, {"Retry-After": "7"})]
    with pytest.raises(TooFast) as raised:
        await rest.ask("GET", "/gateway/bot")
    assert raised.value.seconds == 7
    await rest.ask("GET", "/applications/@me")


async def test_failures_are_tried_again_as_long_as_patience_lasts(
    discord: DiscordStandIn, rest: DiscordRest
) -> None:
    discord.next_answers = [(502, {}, {}), (500, {}, {})]
    assert await rest.ask("GET", "/gateway/bot", patience=5)
    discord.next_answers = [(503, {}, {})]
    with pytest.raises(Unavailable):
        await rest.ask("GET", "/gateway/bot")


async def test_nobody_there_is_unavailable(discord: DiscordStandIn) -> None:
    async with DiscordRest(TOKEN, "http://127.0.0.1:9") as client:
        with pytest.raises(Unavailable):
            await client.ask("GET", "/gateway/bot")


async def test_a_refusal_says_why_and_is_not_tried_again(discord: DiscordStandIn, rest: DiscordRest) -> None:
    with pytest.raises(Refused, match=r"404 \(10003\): Unknown Channel"):
        await rest.ask("POST", "/channels/1/messages", HELLO, patience=5)


async def test_many_at_once_stay_within_what_is_known(discord: DiscordStandIn, rest: DiscordRest) -> None:
    path = f"/channels/{discord.private(PERSON)}/messages"
    await rest.ask("POST", path, HELLO)
    results = await asyncio.gather(*(rest.ask("POST", path, HELLO) for _ in range(10)), return_exceptions=True)
    assert sum(isinstance(each, dict) for each in results) == 2
    assert discord.refusals == 0


def test_buckets_of_the_past_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discord_rest, "BUCKETS_MAX", 10)
    limits = Limits()
    for number in range(50):
        limits.refused("POST /callback", f"/interactions/{number}/token", 0.0, everything=False)
    assert len(limits._buckets) <= 10


async def test_tokens_of_interactions_are_not_kept_as_names_of_routes(
    rest: DiscordRest, monkeypatch: pytest.MonkeyPatch
) -> None:
    routes: set[str] = set()
    monkeypatch.setattr(Limits, "learn", lambda _, route, major, headers: routes.add(route))
    for number in range(3):
        for path in (f"/webhooks/1/token{number}", f"/webhooks/1/token{number}/messages/@original"):
            with suppress(Refused):
                await rest.ask("PATCH", path, HELLO)
    assert routes == {"PATCH ", "PATCH /messages/@original"}


async def test_no_session_is_begun_while_discord_allows_none(discord: DiscordStandIn, rest: DiscordRest) -> None:
    events = Events(rest, None)  # type: ignore[arg-type]
    discord.starts_left = 0
    began = time.monotonic()
    assert (await events.find_gateway()).endswith("/ws")
    assert time.monotonic() - began >= 0.1
