"""Slack's Socket Mode: connections are renewed without a gap, and given up only where nothing else helps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from linking.platforms.base import SetupError
from linking.platforms.slack_socket import Socket
from linking.platforms.slack_web import SlackWeb
from tests.platforms.slack_stand_in import APP_TOKEN, SlackStandIn


@asynccontextmanager
async def listening(slack: SlackStandIn) -> AsyncIterator[list[dict[str, Any]]]:
    """Run a socket until the block ends; give what it handed over."""
    taken: list[dict[str, Any]] = []

    async def take(kind: str, payload: dict[str, Any]) -> None:
        taken.append(payload)
        if payload.get("burn"):
            raise ValueError("an envelope that nobody foresaw")

    async with SlackWeb(APP_TOKEN, slack.api_url) as web:
        task = asyncio.create_task(Socket(web, take, again_seconds=0.02).run())
        try:
            await slack.until(lambda: slack.sockets or task.done())
            yield taken
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def test_envelopes_are_acknowledged() -> None:
    async with SlackStandIn() as slack, listening(slack) as taken:
        envelopes = [await slack.send("events_api", {"n": n}) for n in range(3)]
        await slack.until(lambda: set(slack.acks) == set(envelopes))
        assert taken == [{"n": 0}, {"n": 1}, {"n": 2}]


async def test_one_that_cannot_be_read_does_not_come_again() -> None:
    async with SlackStandIn() as slack, listening(slack):
        envelope = await slack.send("events_api", {"burn": True})
        await slack.until(lambda: slack.acks == [envelope])
        assert slack.opened == 1


@pytest.mark.parametrize("reason", ["warning", "refresh_requested", "too_many_websockets"])
async def test_the_next_connection_is_opened_before_the_old_one_ends(reason: str) -> None:
    async with SlackStandIn() as slack, listening(slack) as taken:
        [old] = slack.sockets
        await slack.disconnect(reason)
        await slack.until(lambda: len(slack.sockets) == 2)
        # Until it ends the old one is still read.
        await old.send_json({"envelope_id": "late", "type": "events_api", "payload": {"n": 1}})
        await slack.until(lambda: "late" in slack.acks)
        await old.close()
        envelope = await slack.send("events_api", {"n": 2})
        await slack.until(lambda: envelope in slack.acks)
        assert taken == [{"n": 1}, {"n": 2}]
        assert slack.opened == 2


async def test_a_lost_connection_is_made_again() -> None:
    async with SlackStandIn() as slack, listening(slack):
        for opened in (2, 3):
            await slack.hang_up()
            await slack.until(lambda opened=opened: slack.opened == opened and slack.sockets)


async def test_passing_errors_are_tried_again() -> None:
    async with SlackStandIn() as slack:
        slack.next_errors["apps.connections.open"] = ["internal_error", "ratelimited_by_nobody"]
        async with listening(slack):
            assert slack.opened == 1


async def test_a_socket_mode_that_was_switched_off_ends_it() -> None:
    async with SlackStandIn() as slack, SlackWeb(APP_TOKEN, slack.api_url) as web, asyncio.timeout(5):

        async def take(kind: str, payload: dict[str, Any]) -> None: ...

        task = asyncio.create_task(Socket(web, take).run())
        await slack.until(lambda: slack.sockets)
        await slack.disconnect("link_disabled")
        with pytest.raises(SetupError, match="switched off"):
            await task


async def test_a_revoked_token_ends_it() -> None:
    async with SlackStandIn() as slack, SlackWeb(APP_TOKEN, slack.api_url) as web, asyncio.timeout(5):

        async def take(kind: str, payload: dict[str, Any]) -> None: ...

        slack.next_errors["apps.connections.open"] = ["token_revoked"]
        with pytest.raises(SetupError, match="revoked"):
            await Socket(web, take).run()
