"""The stand-ins notice what no bot may do: without that the tests of the adapters would prove nothing."""

from __future__ import annotations

from typing import Any

import pytest

from linking.platforms.base import Refused
from linking.platforms.discord_rest import DiscordRest
from linking.platforms.slack_web import SlackWeb
from tests.platforms.discord_stand_in import TOKEN, DiscordStandIn
from tests.platforms.slack_stand_in import BOT_TOKEN, SlackStandIn

QUIET: dict[str, Any] = {"allowed_mentions": {"parse": []}}
SAFE: dict[str, Any] = {
    "channel": "C1",
    "text": "hi",
    "unfurl_links": False,
    "unfurl_media": False,
    "parse": "none",
    "link_names": False,
}
BUTTON = {"type": 2, "style": 2, "label": "a", "custom_id": "a"}


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"content": "hi"}, id="nothing-said"),
        pytest.param({"content": "hi", "allowed_mentions": {"parse": ["users"]}}, id="users"),
    ],
)
async def test_discord_notices_messages_that_may_mention_people(body: dict[str, Any]) -> None:
    async with DiscordStandIn() as discord, DiscordRest(TOKEN, discord.api_url) as rest:
        await rest.ask("POST", f"/channels/{discord.public()}/messages", body)
        assert discord.violations == ["a message that may mention people"]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"content": "x" * 2001}, id="too-long"),
        pytest.param({"content": " \n"}, id="empty"),
        pytest.param({"content": "x", "components": [{"components": [BUTTON] * 6}]}, id="wide"),
        pytest.param({"content": "x", "components": [{"components": [BUTTON] * 2}]}, id="same-button-twice"),
        pytest.param(
            {"content": "x", "components": [{"components": [{**BUTTON, "custom_id": "x" * 101}]}]}, id="long-id"
        ),
    ],
)
async def test_discord_refuses_messages_that_do_not_fit(body: dict[str, Any]) -> None:
    async with DiscordStandIn() as discord, DiscordRest(TOKEN, discord.api_url) as rest:
        with pytest.raises(Refused):
            await rest.ask("POST", f"/channels/{discord.public()}/messages", {**QUIET, **body})


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"text": "<!channel> hi"}, id="everybody"),
        pytest.param({"text": "<@U0ADA> hi"}, id="somebody"),
        pytest.param({"parse": "full"}, id="parsed"),
        pytest.param({"unfurl_links": True}, id="opened"),
        pytest.param({"blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": "@here"}}]}, id="block"),
    ],
)
async def test_slack_notices_messages_that_mention_or_open(change: dict[str, Any]) -> None:
    async with SlackStandIn() as slack, SlackWeb(BOT_TOKEN, slack.api_url) as web:
        await web.ask("chat.postMessage", {**SAFE, **change})
        assert slack.violations


async def test_slack_takes_less_where_a_message_is_changed() -> None:
    async with SlackStandIn() as slack, SlackWeb(BOT_TOKEN, slack.api_url) as web:
        made = await web.ask("chat.postMessage", {**SAFE, "text": "x" * 4001})
        with pytest.raises(Refused, match="msg_too_long"):
            await web.ask("chat.update", {**SAFE, "text": "x" * 4001, "ts": made["ts"]})
        assert slack.violations == []
