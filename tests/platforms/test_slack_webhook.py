"""Slack's signed requests: who is let in, what is answered, and that what is sent again is not doubled."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from linking.platforms import slack as adapter
from linking.platforms import slack_events
from linking.platforms import slack_wire as wire
from linking.platforms.base import SetupError
from linking.platforms.client import Holdfast
from linking.platforms.memory import Memory
from tests.platforms.holdfast_stand_in import KEY as HOLDFAST_KEY
from tests.platforms.holdfast_stand_in import HoldfastStandIn
from tests.platforms.running import running
from tests.platforms.slack_stand_in import BOT_TOKEN, ME, SECRET, TEAM, SlackStandIn, signed

ADA = "U0ADA"
PRIVATE, CHANNEL = f"D{ADA}", "C0GENERAL"
NOW = 1_800_000_000
BODY = b'{"type": "event_callback"}'


def is_signed(headers: dict[str, str], body: bytes = BODY, *, now: float = NOW) -> bool:
    return wire.is_signed(
        SECRET,
        signature=headers.get("X-Slack-Signature", ""),
        timestamp=headers.get("X-Slack-Request-Timestamp", ""),
        body=body,
        now=now,
    )


@pytest.mark.parametrize("age", [-300, 0, 300])
def test_a_signature_of_the_last_minutes_is_taken(age: int) -> None:
    assert is_signed(signed(BODY, at=NOW - age))


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param(signed(BODY, at=NOW - 301), id="too-old"),
        pytest.param(signed(BODY, at=NOW + 301), id="of-the-future"),
        pytest.param(signed(BODY, at=NOW, secret="another"), id="another-secret"),
        pytest.param(signed(BODY + b" ", at=NOW), id="another-body"),
        pytest.param({**signed(BODY, at=NOW), "X-Slack-Request-Timestamp": str(NOW - 1)}, id="another-time"),
        pytest.param({**signed(BODY, at=NOW), "X-Slack-Request-Timestamp": f"+{NOW}"}, id="strange-time"),
        pytest.param({**signed(BODY, at=NOW), "X-Slack-Signature": "v0=é"}, id="no-ascii"),
        pytest.param({"X-Slack-Request-Timestamp": str(NOW)}, id="no-signature"),
        pytest.param({"X-Slack-Signature": signed(BODY, at=NOW)["X-Slack-Signature"]}, id="no-time"),
        pytest.param({}, id="nothing"),
    ],
)
def test_what_slack_did_not_sign_just_now_is_refused(headers: dict[str, str]) -> None:
    assert not is_signed(headers)


@pytest.fixture
async def slack() -> AsyncIterator[SlackStandIn]:
    """Slack."""
    async with SlackStandIn() as stand_in:
        yield stand_in
    assert stand_in.violations == []


@pytest.fixture
def settings(slack: SlackStandIn) -> dict[str, str]:
    """The adapter's settings."""
    return {
        "SLACK_BOT_TOKEN": BOT_TOKEN,
        "SLACK_APP_TOKEN": "",
        "SLACK_SIGNING_SECRET": SECRET,
        "SLACK_API_URL": slack.api_url,
        "SLACK_WEBHOOK_LISTEN": "127.0.0.1:0",
    }


@pytest.fixture
async def url(settings: dict[str, str], holdfast: HoldfastStandIn, tmp_path: Path) -> AsyncIterator[str]:
    """Where the running adapter takes requests."""
    async with running(adapter, settings, holdfast.url, tmp_path / "slack.json") as said:
        yield f"http://127.0.0.1:{said[0].split('port ')[1].split('.')[0]}/slack"


async def test_the_address_is_confirmed(slack: SlackStandIn, url: str) -> None:
    status, text = await slack.post(url, "events_api", {"type": "url_verification", "challenge": "c h<>"})
    assert (status, json.loads(text)) == (200, {"challenge": "c h<>"})


async def test_forged_requests_are_refused(slack: SlackStandIn, holdfast: HoldfastStandIn, url: str) -> None:
    holdfast.link("user", ADA)
    payload = slack.message(PRIVATE, ADA, "hello")
    status, _ = await slack.post(url, "events_api", payload, **{"X-Slack-Signature": "v0=00"})
    assert (status, holdfast.sent) == (401, [])


async def test_a_message_is_answered_and_its_retry_is_not_doubled(
    slack: SlackStandIn, holdfast: HoldfastStandIn, url: str
) -> None:
    holdfast.link("user", ADA)
    payload = slack.message(PRIVATE, ADA, "hello")
    again = {"X-Slack-Retry-Num": "1", "X-Slack-Retry-Reason": "http_timeout"}
    statuses = [(await slack.post(url, "events_api", payload, **more))[0] for more in ({}, again, again)]
    turn = await holdfast.turn()
    await turn.says("hi")
    await turn.ends()
    await slack.until(lambda: slack.of_bot(PRIVATE))
    assert (statuses, len(holdfast.sent)) == ([200, 200, 200], 1)


async def test_what_holdfast_cannot_take_now_is_asked_for_again(
    slack: SlackStandIn, holdfast: HoldfastStandIn, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slack_events, "TAKEN_SECONDS", 0.05)
    holdfast.link("user", ADA)
    holdfast.down = True
    payload = slack.message(PRIVATE, ADA, "hello")
    assert (await slack.post(url, "events_api", payload))[0] == 503
    holdfast.down = False
    await holdfast.until(lambda: holdfast.sent)
    assert (await slack.post(url, "events_api", payload, **{"X-Slack-Retry-Num": "1"}))[0] == 200
    assert len(holdfast.sent) == 1


async def test_commands_and_buttons_come_as_forms(
    slack: SlackStandIn, holdfast: HoldfastStandIn, url: str
) -> None:
    holdfast.link("server", TEAM, ADA)
    await slack.post(url, "events_api", slack.message(CHANNEL, ADA, f"<@{ME}> note"))
    turn = await holdfast.turn()
    request = {"tool_call_id": "1", "name": "n", "arguments": {}, "allowed_decisions": ["approve"]}
    await turn.asks(requests=[request])
    [card] = await slack.until(lambda: slack.of_bot(CHANNEL))
    assert (await slack.post(url, "interactive", slack.pressed(card, "✅ Approve", ADA)))[0] == 200
    await holdfast.until(lambda: holdfast.decided)
    assert await slack.post(url, "slash_commands", slack.command(CHANNEL, ADA, "stop")) == (200, "")
    await slack.until(lambda: any(each["text"] == "Stopping." for each in slack.answers))


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param({"type": "app_rate_limited", "minute_rate_limited": 1}, id="rate"),
        pytest.param({"type": "event_callback"}, id="no-event"),
        pytest.param({"type": "event_callback", "event": {"type": "app_mention"}}, id="empty-event"),
        pytest.param({"type": "event_callback", "event": ["app_mention"]}, id="list"),
    ],
)
async def test_what_it_cannot_read_is_confirmed(slack: SlackStandIn, url: str, payload: dict[str, object]) -> None:
    assert (await slack.post(url, "events_api", payload))[0] == 200


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param({"SLACK_SIGNING_SECRET": ""}, "SLACK_APP_TOKEN: missing", id="neither"),
        pytest.param({"SLACK_BOT_TOKEN": "xoxb-wrong"}, "SLACK_BOT_TOKEN: auth.test: Slack does", id="token"),
        pytest.param({"SLACK_APP_TOKEN": "xapp-wrong"}, "SLACK_APP_TOKEN: apps.connections.open", id="app"),
        pytest.param({"SLACK_APP_TOKEN": BOT_TOKEN}, "SLACK_APP_TOKEN: .* mixed up", id="mixed-up"),
        pytest.param({"SLACK_WEBHOOK_LISTEN": "8083"}, "SLACK_WEBHOOK_LISTEN: expected host:port", id="listen"),
    ],
)
async def test_what_is_wrong_with_the_settings_is_a_line(
    settings: dict[str, str], holdfast: HoldfastStandIn, change: dict[str, str], words: str
) -> None:
    async with Holdfast(holdfast.url, HOLDFAST_KEY) as client, asyncio.timeout(5):
        with pytest.raises(SetupError, match=f"^{words}"):
            await adapter.serve({**settings, **change}, client, Memory(None), asyncio.Event(), lambda line: None)
