"""Slack's own examples are read right, and only what is signed gets in."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs, parse_qsl

import pytest

from linking.platforms import slack_wire as wire
from linking.platforms.base import Incoming
from linking.platforms.slack_events import Webhook
from tests.platforms.corpus.payloads import read

SLACK = read("slack")
BODIES = {each["name"]: each["body"] for each in SLACK["payloads"]}
VECTORS = {each["name"]: each for each in SLACK["vectors"]}


class Taker:
    """Takes what the webhook hands over."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, dict[str, Any]]] = []

    async def take(self, kind: str, payload: dict[str, Any]) -> None:
        self.taken.append((kind, payload))

    async def take_in_time(self, payload: dict[str, Any]) -> bool:
        self.taken.append(("events_api", payload))
        return True


@pytest.mark.parametrize("name", sorted(VECTORS))
async def test_signatures(name: str) -> None:
    vector, taker = VECTORS[name], Taker()
    webhook = Webhook(SLACK["test_signing_secret"], taker, clock=lambda: vector["now"])  # type: ignore[arg-type]
    found = await webhook.take(vector["headers"], vector["raw_body"].encode())
    assert found.status == (200 if vector["valid"] else 401)
    if not vector["valid"] or name == "url_verification":
        assert taker.taken == []
    else:
        assert len(taker.taken) == 1


async def test_the_address_is_confirmed_with_its_challenge() -> None:
    vector = VECTORS["url_verification"]
    webhook = Webhook(SLACK["test_signing_secret"], Taker(), clock=lambda: vector["now"])  # type: ignore[arg-type]
    found = await webhook.take(vector["headers"], vector["raw_body"].encode())
    assert json.loads(found.body) == {"challenge": BODIES["url_verification"]["challenge"]}


@pytest.mark.parametrize("name", sorted(BODIES))
def test_only_what_is_meant_for_the_bot_is_a_message(name: str) -> None:
    found = wire.read_event(BODIES[name], me="W111")
    assert (found is not None) == (name == "app_mention")


def test_a_mention() -> None:
    found = wire.read_event(BODIES["app_mention"], me="W111", team_name="Harbour")
    assert isinstance(found, Incoming)
    assert (found.text, found.person.id, found.message) == ("Hi there!", "W222", "1595926230.009600")
    assert (found.place.kind, found.place.platform_id, found.place_name) == ("server", "T111", "Harbour")
    assert found.place.address == ("C111", "1595926230.009600")


def test_what_it_says_itself_is_left_alone() -> None:
    assert wire.read_event(BODIES["app_mention"], me="W222") is None


def test_a_button() -> None:
    body = BODIES["block_actions_button"]
    [raw] = parse_qs(VECTORS["block_actions_button"]["raw_body"])["payload"]
    assert json.loads(raw) == body
    press = wire.read_press(body)
    assert press is not None
    assert (press.person.id, press.message, press.data) == (
        body["user"]["id"],
        "111.222",
        body["actions"][0]["value"],
    )
    assert press.origin == body["response_url"]


def test_a_command() -> None:
    found = wire.read_command(dict(parse_qsl(VECTORS["official-slash-command"]["raw_body"])))
    assert found is not None
    assert (found.person.id, found.person.name, found.command) == ("U2CERLKJA", "roadrunner", "help")
    assert (found.place.platform_id, found.place.address[0]) == ("T1DC2JH3J", "G8PSS9T3V")
    assert found.origin.startswith("https://hooks.slack.com/commands/")
