"""Discord's own examples are read right, and only what is signed gets in."""

from __future__ import annotations

import json
from typing import Any

import pytest

from linking.platforms import discord_wire as wire
from linking.platforms.base import Incoming, Press
from linking.platforms.discord_events import Webhook
from tests.platforms.corpus.payloads import read

DISCORD = read("discord")
BODIES = {each["name"]: each["body"] for each in DISCORD["payloads"]}
VECTORS = {each["name"]: each for each in DISCORD["vectors"]}
#: How each is answered at once; the application knows no command of these names.
ANSWERS = {
    "ping": {"type": 1},
    "autocomplete": {"type": 8, "data": {"choices": []}},
    "message_component_minimal": {"type": 6},
    "message_component_button_official_sample": {"type": 6},
    "select_menu_official_sample": {"type": 6},
}


@pytest.mark.parametrize("name", sorted(VECTORS))
async def test_signatures(name: str) -> None:
    vector = VECTORS[name]
    key = wire.read_public_key(DISCORD["test_public_key"])
    taken: list[dict[str, Any]] = []

    def answer(data: dict[str, Any]) -> dict[str, Any]:
        taken.append(data)
        return wire.read_interaction(data).answer

    webhook = Webhook(key, answer, clock=lambda: 1_700_000_060)
    found = await webhook.take(vector["headers"], vector["raw_body"].encode())
    if not vector["valid"]:
        assert (found.status, taken) == (401, [])
    elif name.startswith("webhook_event"):
        assert (found.status, found.body, taken) == (204, b"", [])
    else:
        assert (found.status, found.content_type) == (200, "application/json")
        assert taken == [json.loads(vector["raw_body"])]
        if name.startswith("ping"):
            assert json.loads(found.body) == {"type": 1}


@pytest.mark.parametrize("name", sorted(each for each in BODIES if not each.startswith("webhook_event")))
def test_every_interaction_is_answered_in_its_form(name: str) -> None:
    answer = wire.read_interaction(BODIES[name]).answer
    if name in ANSWERS:
        assert answer == ANSWERS[name]
    else:
        assert answer["type"] == 4
        assert answer["data"]["flags"] & wire.EPHEMERAL


def test_who_pressed_where() -> None:
    body = BODIES["message_component_button_official_sample"]
    press = wire.read_interaction(body).asked
    assert isinstance(press, Press)
    assert (press.person.id, press.data, press.message) == (
        body["member"]["user"]["id"],
        "click_one",
        body["message"]["id"],
    )
    assert (press.place.kind, press.place.platform_id) == ("server", body["guild_id"])


def test_the_person_of_a_command_in_a_server_is_its_member() -> None:
    body = {**BODIES["application_command_guild_official_sample"], "application_id": "1"}
    body["data"] = {"name": "stop"}
    incoming = wire.read_interaction(body).asked
    assert isinstance(incoming, Incoming)
    assert (incoming.person.id, incoming.person.name) == (body["member"]["user"]["id"], "Mason")
    assert (incoming.place.platform_id, incoming.command) == (body["guild_id"], "stop")
