"""``manage.py run_bot`` says in a line what is missing, and keeps two from running at once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from linking.management.commands.run_bot import only_one
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


def test_two_on_one_file_are_one_too_many(tmp_path: Path) -> None:
    path = tmp_path / "telegram.json"
    with only_one(path), pytest.raises(CommandError, match="Another process"), only_one(path):
        pass
    with only_one(path):
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
