"""Telegram's own examples and the shapes of today are read right, and none of them breaks the adapter."""

from __future__ import annotations

from typing import Any

import pytest

from linking.platforms.base import Incoming, Press
from linking.platforms.deciding import read_press
from linking.platforms.telegram_updates import Bot, read_update
from linking.platforms.telegram_webhook import is_telegram
from tests.platforms.corpus.payloads import read

TELEGRAM = read("telegram")
BOT = Bot(123456789, "agent_test_bot")
OLD = {each["name"]: each["body"] for each in TELEGRAM["updates"]}
MODERN = {each["name"]: each["body"] for each in TELEGRAM["updates_modern"]}
PERSON, GROUP = "1111111", "-1001234567890"


@pytest.mark.parametrize(
    "vector", TELEGRAM["secret_token_vectors"], ids=lambda vector: f"header={vector['header']}"
)
def test_secret_tokens(vector: dict[str, Any]) -> None:
    assert is_telegram(vector["configured"], vector["header"]) is vector["valid"]


@pytest.mark.parametrize("name", sorted(OLD))
def test_the_examples_of_2015_are_read_although_they_lack_what_is_required_today(name: str) -> None:
    found = read_update(OLD[name], BOT)
    if name in ("edited_message", "inline_query_numeric_id", "chosen_inline_result"):
        assert found is None
    elif name == "callback_query_inline":
        assert isinstance(found, Press)
        assert read_press(found.data) is None
    else:
        assert isinstance(found, Incoming)
        assert found.place.kind == "user"
        assert found.place.platform_id == PERSON
        assert found.files == (name in ("message_audio", "message_voice", "message_document"))


def test_commands_and_their_arguments() -> None:
    plain, deep = read_update(MODERN["start_plain"], BOT), read_update(MODERN["start_with_link_code"], BOT)
    assert isinstance(plain, Incoming)
    assert (plain.command, plain.text) == ("start", "")
    assert isinstance(deep, Incoming)
    assert (deep.command, deep.text) == ("start", "LINK_9fK3-abcDEF")


def test_the_bots_name_is_found_by_its_utf16_offset_and_taken_out() -> None:
    found = read_update(MODERN["text_emoji_utf16_offsets"], BOT)
    assert isinstance(found, Incoming)
    assert found.text == "👋🏽 hi"


def test_a_groups_command_counts_for_the_bot_that_it_names() -> None:
    mine = read_update(MODERN["group_command_for_this_bot"], BOT)
    assert isinstance(mine, Incoming)
    assert (mine.command, mine.text) == ("ask", "what is 2+2?")
    assert (mine.place.kind, mine.place.platform_id, mine.place.thread_id) == ("server", GROUP, "77")
    assert mine.place_name == "Ops"
    assert read_update(MODERN["group_command_for_other_bot"], BOT) is None


def test_a_reply_names_the_message_that_it_answers() -> None:
    found = read_update(MODERN["reply_to_bot"], BOT)
    assert isinstance(found, Incoming)
    assert (found.text, found.reply_to, found.quoted) == ("yes do it", "1400", "")


def test_who_pressed_is_known_also_where_the_message_is_gone() -> None:
    own, foreign = (
        read_update(MODERN["callback_approve"], BOT),
        read_update(MODERN["callback_from_another_user"], BOT),
    )
    gone = read_update(MODERN["callback_on_inaccessible_message"], BOT)
    assert isinstance(own, Press)
    assert isinstance(foreign, Press)
    assert isinstance(gone, Press)
    assert (own.person.id, own.data, own.message) == (PERSON, "a:7f3c", "1400")
    assert (foreign.person.id, foreign.place.kind, foreign.place.platform_id) == ("2222222", "server", GROUP)
    assert (gone.place.kind, gone.place.platform_id) == ("user", PERSON)


@pytest.mark.parametrize("name", ["photo_with_caption", "voice", "document"])
def test_files_are_noticed(name: str) -> None:
    found = read_update(MODERN[name], BOT)
    assert isinstance(found, Incoming)
    assert found.files
    assert found.text == ("what is this?" if name == "photo_with_caption" else "")


def test_an_anonymous_administrator_is_nobody() -> None:
    found = read_update(MODERN["anonymous_group_admin"], BOT)
    assert isinstance(found, Incoming)
    assert (found.person.id, found.person.name, found.text) == ("", "Ops", "hi")


@pytest.mark.parametrize(
    "name", ["edited_message", "bot_blocked_by_user", "channel_post", "group_migrated", "unknown_update_type"]
)
def test_what_asks_nothing_is_left_alone(name: str) -> None:
    assert read_update(MODERN[name], BOT) is None


def test_every_collected_update_is_looked_at() -> None:
    looked_at = {
        *("start_plain", "start_with_link_code", "text_emoji_utf16_offsets", "group_command_for_this_bot"),
        *("group_command_for_other_bot", "reply_to_bot", "callback_approve", "callback_from_another_user"),
        *("callback_on_inaccessible_message", "photo_with_caption", "voice", "document", "anonymous_group_admin"),
        *("edited_message", "bot_blocked_by_user", "channel_post", "group_migrated", "unknown_update_type"),
        "forwarded_modern",
    }
    assert looked_at == set(MODERN)
    assert isinstance(read_update(MODERN["forwarded_modern"], BOT), Incoming)
