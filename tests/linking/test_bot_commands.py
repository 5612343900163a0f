"""``manage.py create_bot`` and ``manage.py rotate_bot_key``."""

from __future__ import annotations

import io

import pytest
from django.core.management import CommandError, call_command

from linking.bots import authenticate_bot
from linking.models import Bot

pytestmark = pytest.mark.django_db


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue().splitlines()[-1]


def test_the_key_is_alone_on_the_last_line_and_works():
    key = authenticate_bot(run("create_bot", "concierge", "--platform", "discord"))
    assert (key.bot.name, key.bot.platform, key.scopes) == ("concierge", "discord", [])


def test_deciding_has_to_be_asked_for():
    secret = run("create_bot", "concierge", "--platform", "discord", "--scopes", "approve")
    assert authenticate_bot(secret).scopes == ["approve"]


def test_a_second_key_of_a_bot_does_not_end_the_first():
    first, second = (run("create_bot", "concierge", "--platform", "discord") for _ in range(2))
    assert first != second
    assert authenticate_bot(first).bot == authenticate_bot(second).bot
    third = run("rotate_bot_key", "concierge")
    assert [authenticate_bot(each) is not None for each in (first, second, third)] == [False, False, True]


def test_rotation_takes_time_and_scopes():
    first = run("create_bot", "concierge", "--platform", "discord")
    second = run("rotate_bot_key", "concierge", "--grace", "60", "--scopes", "approve")
    assert authenticate_bot(first).scopes == []
    assert authenticate_bot(second).scopes == ["approve"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("create_bot", "concierge"),
        ("create_bot", "", "--platform", "discord"),
        ("create_bot", "a\nb", "--platform", "discord"),
        ("create_bot", "concierge", "--platform", "dis cord"),
        ("create_bot", "concierge", "--platform", "discord", "--scopes", "chat"),
        ("rotate_bot_key", "concierge"),
    ],
    ids=" ".join,
)
def test_a_refusal_is_one_line_and_leaves_nothing(arguments):
    with pytest.raises(CommandError) as refused:
        run(*arguments)
    assert "\n" not in str(refused.value).strip()
    assert not Bot.objects.exists()
