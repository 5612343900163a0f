"""The connection to Discord's gateway beats, resumes, begins anew, and gives up only where nothing else helps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from linking.platforms import discord_wire as wire
from linking.platforms.base import SetupError
from linking.platforms.discord_gateway import Gateway, Session
from tests.platforms.discord_stand_in import TOKEN, DiscordStandIn

PERSON = "500000000000000001"


class Listener:
    """What the gateway handed over."""

    def __init__(self, discord: DiscordStandIn, token: str = TOKEN, *, session: Session | None = None) -> None:
        self.news = asyncio.Event()
        self.events: list[tuple[str, dict[str, Any]]] = []
        self._discord = discord
        self.gateway = Gateway(
            token, self.url, self.take, session=session, again_seconds=0.02, invalid_seconds=(0.0, 0.01)
        )

    async def url(self) -> str:
        return f"ws://127.0.0.1:{self._discord.port}/ws"

    def take(self, name: str, data: dict[str, Any]) -> asyncio.Task[None] | None:
        self.events.append((name, data))
        self.news.set()
        if data.get("content") == "burn":
            raise ValueError("an event that nobody foresaw")
        if data.get("content") == "stuck":
            self._stuck = asyncio.create_task(asyncio.Event().wait())
            return self._stuck  # type: ignore[return-value]
        return None

    def texts(self) -> list[str]:
        return [data["content"] for name, data in self.events if name == "MESSAGE_CREATE"]


@asynccontextmanager
async def listening(discord: DiscordStandIn, token: str = TOKEN) -> AsyncIterator[Listener]:
    """Run a gateway until the block ends."""
    listener = Listener(discord, token)
    task = asyncio.create_task(listener.gateway.run())
    try:
        await discord.until(lambda: discord.sessions or task.done())
        yield listener
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def heard(listener: Listener, *texts: str) -> None:
    """Wait until exactly these messages were handed over."""
    async with asyncio.timeout(10):
        while len(listener.texts()) < len(texts):
            listener.news.clear()
            await listener.news.wait()
    assert listener.texts() == list(texts)


async def test_it_asks_for_what_it_reads() -> None:
    async with DiscordStandIn() as discord, listening(discord) as listener:
        channel = discord.private(PERSON)
        await discord.say(channel, PERSON, "hello")
        await heard(listener, "hello")
    assert discord.identifies[0]["intents"] == wire.INTENTS
    assert [name for name, _ in listener.events] == ["READY", "GUILD_CREATE", "MESSAGE_CREATE"]


async def test_heartbeats_keep_the_connection() -> None:
    async with DiscordStandIn(beat_seconds=0.05) as discord, listening(discord):
        session = next(iter(discord.sessions.values()))
        await discord.until(lambda: session.beats >= 5)
        assert (len(discord.identifies), discord.resumes) == (1, [])


async def test_a_heartbeat_that_is_asked_for_is_sent_at_once() -> None:
    async with DiscordStandIn(beat_seconds=60) as discord, listening(discord):
        await discord.tell(1)
        await discord.until(lambda: next(iter(discord.sessions.values())).beats)


@pytest.mark.parametrize("code", [1001, 4000, 4008], ids=["restart", "unknown", "too-fast"])
async def test_what_was_said_meanwhile_comes_after_a_resume(code: int) -> None:
    async with DiscordStandIn() as discord, listening(discord) as listener:
        channel = discord.private(PERSON)
        await discord.say(channel, PERSON, "before")
        await heard(listener, "before")
        await discord.drop(code)
        await discord.say(channel, PERSON, "meanwhile")
        await heard(listener, "before", "meanwhile")
        assert (len(discord.identifies), len(discord.resumes)) == (1, 1)
    assert discord.violations == []


async def test_a_request_to_reconnect_is_a_resume() -> None:
    async with DiscordStandIn() as discord, listening(discord):
        await discord.tell(7)
        await discord.until(lambda: discord.resumes)
        assert len(discord.identifies) == 1


async def test_without_acknowledgements_it_resumes_over_a_new_connection() -> None:
    async with DiscordStandIn(beat_seconds=0.05) as discord, listening(discord):
        discord.deaf = True
        await discord.until(lambda: discord.resumes)
        discord.deaf = False
        beats = next(iter(discord.sessions.values())).beats
        await discord.until(lambda: next(iter(discord.sessions.values())).beats > beats + 2)


@pytest.mark.parametrize(("resumable", "identifies"), [(True, 1), (False, 2)], ids=["resumable", "lost"])
async def test_an_invalid_session_is_resumed_or_begun_anew(resumable: bool, identifies: int) -> None:
    async with DiscordStandIn() as discord, listening(discord):
        await discord.tell(9, resumable)
        await discord.until(lambda: len(discord.identifies) + len(discord.resumes) == 2)
        assert len(discord.identifies) == identifies


@pytest.mark.parametrize("code", sorted(wire.SESSION_LOST), ids=str)
async def test_a_lost_session_is_begun_anew(code: int) -> None:
    async with DiscordStandIn() as discord, listening(discord):
        await discord.drop(code)
        await discord.until(lambda: len(discord.identifies) == 2)
        assert discord.resumes == []


async def test_a_session_that_discord_forgot_is_begun_anew() -> None:
    async with DiscordStandIn() as discord, listening(discord):
        forgotten = discord.sessions.copy()
        await discord.drop(4000)
        discord.sessions.clear()
        await discord.until(lambda: discord.sessions)
        assert len(discord.resumes) == 1
        assert set(discord.sessions).isdisjoint(forgotten)


@pytest.mark.parametrize("code", sorted(wire.FATAL_CLOSES), ids=str)
async def test_closings_that_no_retry_helps_end_it_with_the_mend(code: int) -> None:
    async with DiscordStandIn() as discord:
        discord.close_next = code
        async with asyncio.timeout(5):
            with pytest.raises(SetupError) as raised:
                await Listener(discord).gateway.run()
    assert str(raised.value) == f"DISCORD_TOKEN: {wire.FATAL_CLOSES[code]}"
    assert "\n" not in str(raised.value)


async def test_a_wrong_token_is_not_tried_again() -> None:
    async with DiscordStandIn() as discord:
        async with asyncio.timeout(5):
            with pytest.raises(SetupError, match="DISCORD_TOKEN"):
                await Listener(discord, "wrong").gateway.run()
        assert len(discord.identifies) == 1


async def test_an_event_that_cannot_be_read_ends_nothing() -> None:
    async with DiscordStandIn() as discord, listening(discord) as listener:
        channel = discord.private(PERSON)
        await discord.say(channel, PERSON, "burn")
        await discord.say(channel, PERSON, "hello")
        await heard(listener, "burn", "hello")
        assert discord.resumes == []


async def test_a_session_whose_address_is_gone_is_begun_anew() -> None:
    async with DiscordStandIn() as discord:
        discord.resume_port = 9
        async with listening(discord):
            await discord.drop(4000)
            await discord.until(lambda: len(discord.identifies) == 2)


async def test_messages_of_an_unknown_form_end_nothing() -> None:
    async with DiscordStandIn() as discord, listening(discord) as listener:
        channel = discord.private(PERSON)
        for session in discord.sessions.values():
            assert session.socket
            await session.socket.send_str("[1]")
        await discord.until(lambda: discord.resumes)
        await discord.say(channel, PERSON, "hello")
        await heard(listener, "hello")


async def test_another_process_resumes_from_the_first_event_that_was_not_safe() -> None:
    async with DiscordStandIn() as discord:
        channel = discord.private(PERSON)
        async with listening(discord) as first:
            await discord.say(channel, PERSON, "safe")
            await discord.say(channel, PERSON, "stuck")
            await discord.say(channel, PERSON, "safe too")
            await heard(first, "safe", "stuck", "safe too")
            kept = first.gateway.kept()
        await discord.until(lambda: all(each.socket is None for each in discord.sessions.values()))
        await discord.say(channel, PERSON, "meanwhile")
        second = Listener(discord, session=kept)
        task = asyncio.create_task(second.gateway.run())
        await heard(second, "stuck", "safe too", "meanwhile")
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert (len(discord.identifies), len(discord.resumes)) == (1, 1)


async def test_a_session_that_is_too_old_is_begun_anew() -> None:
    async with DiscordStandIn() as discord:
        old = Session("forgotten", f"ws://127.0.0.1:{discord.port}/resume", 7)
        task = asyncio.create_task(Listener(discord, session=old).gateway.run())
        await discord.until(lambda: discord.sessions)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert (len(discord.identifies), len(discord.resumes)) == (1, 1)
