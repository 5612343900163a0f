"""Slack's Web API: its refusals are believed, and its tokens go nowhere else."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from linking.platforms import slack_web
from linking.platforms.base import TooFast, Unavailable
from linking.platforms.slack_web import SlackRefused, SlackWeb
from tests.platforms.slack_stand_in import BOT_TOKEN, SlackStandIn

HELLO = {
    "channel": "C1",
    "text": "hello",
    "unfurl_links": False,
    "unfurl_media": False,
    "parse": "none",
    "link_names": False,
}


@pytest.fixture
async def slack() -> AsyncIterator[SlackStandIn]:
    """Slack, which takes one message in a channel and then none for a long while."""
    async with SlackStandIn(per_channel=1, window=30) as stand_in:
        yield stand_in
    assert stand_in.violations == []


@pytest.fixture
async def web(slack: SlackStandIn, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SlackWeb]:
    """A client of it."""
    monkeypatch.setattr(slack_web, "AGAIN_SECONDS", 0.01)
    async with SlackWeb(BOT_TOKEN, slack.api_url) as client:
        yield client


async def test_a_refusal_for_haste_holds_the_method_and_no_other(slack: SlackStandIn, web: SlackWeb) -> None:
    made = await web.ask("chat.postMessage", HELLO)
    for _ in range(3):
        with pytest.raises(TooFast) as raised:
            await web.ask("chat.postMessage", HELLO)
        assert 25 < raised.value.seconds <= 30
    assert slack.refusals == 1
    await web.ask("chat.update", {**HELLO, "ts": made["ts"]})


async def test_patience_waits_as_long_as_slack_says(slack: SlackStandIn, web: SlackWeb) -> None:
    slack.window = 0.1
    for _ in range(4):
        await web.ask("chat.postMessage", HELLO, patience=5)
    assert len(slack.of_bot("C1")) == 4


async def test_passing_errors_are_tried_again_as_long_as_patience_lasts(
    slack: SlackStandIn, web: SlackWeb
) -> None:
    slack.next_errors["auth.test"] = ["internal_error", "service_unavailable"]
    assert (await web.ask("auth.test", patience=5))["ok"]
    slack.next_errors["auth.test"] = ["fatal_error"]
    with pytest.raises(Unavailable):
        await web.ask("auth.test")


@pytest.mark.parametrize(
    ("error", "lasting"), [("token_revoked", True), ("missing_scope", True), ("channel_not_found", False)]
)
async def test_a_refusal_is_not_tried_again(slack: SlackStandIn, web: SlackWeb, error: str, lasting: bool) -> None:
    slack.next_errors["auth.test"] = [error]
    with pytest.raises(SlackRefused) as raised:
        await web.ask("auth.test", patience=5)
    assert (raised.value.error, raised.value.is_lasting) == (error, lasting)


async def test_nobody_there_is_unavailable(slack: SlackStandIn) -> None:
    async with SlackWeb(BOT_TOKEN, "http://127.0.0.1:9/api/") as web:
        with pytest.raises(Unavailable):
            await web.ask("auth.test")
        with pytest.raises(Unavailable):
            await web.answer("no address", {})


async def test_the_token_is_not_sent_to_answering_addresses(slack: SlackStandIn, web: SlackWeb) -> None:
    await web.answer(f"http://127.0.0.1:{slack.port}/answers/1", {"response_type": "ephemeral", "text": "hi"})
    assert slack.answers[0]["text"] == "hi"
    with pytest.raises(SlackRefused):
        await web.answer(f"http://127.0.0.1:{slack.port}/gone", {})
