"""``manage.py run_bot`` says in a line what is missing, and keeps two from running at once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from linking.management.commands.run_bot import Command, only_one
from linking.platforms import telegram
from linking.platforms.memory import Memory
from tests.platforms.conftest import Bots
from tests.platforms.holdfast_stand_in import HoldfastStandIn
from tests.platforms.telegram_stand_in import TOKEN, TelegramStandIn

ADA, GROUP = 100_100_1, -100_200_300


def test_all_that_is_missing_is_named(settings: Any, tmp_path: Path) -> None:
    settings.TELEGRAM_HOLDFAST_KEY = settings.TELEGRAM_TOKEN = ""
    with pytest.raises(CommandError) as refused:
        call_command("run_bot", "telegram", state=tmp_path / "telegram.json")
    assert str(refused.value).splitlines() == [
        "TELEGRAM_HOLDFAST_KEY: missing. See docs/platforms.md.",
        "TELEGRAM_TOKEN: missing. See docs/platforms.md.",
    ]


async def test_a_key_that_holdfast_refuses_is_named(bots: Bots, settings: Any) -> None:
    settings.HOLDFAST_URL = bots.holdfast_url
    configured = {**bots.settings, "TELEGRAM_HOLDFAST_KEY": "hfb_another"}
    with pytest.raises(CommandError, match=r"^TELEGRAM_HOLDFAST_KEY: Holdfast refuses it: This key is not known"):
        await Command()._run(telegram, configured, "TELEGRAM_HOLDFAST_KEY", Memory())


def test_an_address_that_is_none_is_named(settings: Any, tmp_path: Path) -> None:
    settings.TELEGRAM_HOLDFAST_KEY = settings.TELEGRAM_TOKEN = "x"
    settings.HOLDFAST_URL = "holdfast.example"
    with pytest.raises(CommandError, match=r"^HOLDFAST_URL: expected an address"):
        call_command("run_bot", "telegram", state=tmp_path / "telegram.json")


def test_two_on_one_file_are_one_too_many(tmp_path: Path) -> None:
    path = tmp_path / "telegram.json"
    with only_one(path), pytest.raises(CommandError, match="Another process"), only_one(path):
        pass
    with only_one(path):
        pass


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "bots").write_text("no folder")
    with pytest.raises(CommandError, match="cannot be written"), only_one(tmp_path / "bots" / "telegram.json"):
        pass


async def test_no_line_of_the_log_tells_who_wrote_what(
    bots: Bots, chats: TelegramStandIn, holdfast: HoldfastStandIn, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    chats.fails |= {"sendMessage": [500], "getUpdates": [502], "editMessageText": [400]}
    group, ada = chats.group(GROUP), chats.person(ADA, "Ada")
    async with bots.running():
        await chats.writes(ada, "/link", group)
        await chats.says(ADA, "https://holdfast.example")
        holdfast.link("server", GROUP, ADA)
        await chats.writes(ada, "@stand_in_bot a secret question", group)
        turn = await holdfast.turn()
        await turn.says("A secret answer.")
        await chats.says(GROUP, "A secret answer.")
        del holdfast.turns[turn.id]
        await turn.says("More.", part="t2")
        await chats.until("an edit", lambda: chats.calls["editMessageText"])
    secrets = [TOKEN, str(ADA), str(GROUP), "secret question", "secret answer", *holdfast.tokens]
    assert caplog.records
    assert _leaks(caplog.records, secrets) == []
    logging.getLogger("linking").info("planted", extra={"chat": GROUP})
    assert _leaks(caplog.records, secrets) == [str(GROUP)]


def _leaks(records: list[logging.LogRecord], secrets: list[str]) -> list[str]:
    written: Callable[[logging.LogRecord], str] = lambda record: f"{record.getMessage()} {record.__dict__}"  # noqa: E731
    return [secret for secret in secrets for record in records if secret in written(record)]
