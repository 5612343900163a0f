"""A bot, and what it wants linked."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from linking.bots import register_bot
from linking.link_tokens import Issued, Target, issue_link_token
from linking.models import Bot

#: Ids and names as no other text has them, so that they are found wherever they get to.
SERVER_ID, USER_ID = "plat-srv-8138438876", "plat-usr-8035111022"
SERVER = Target(
    kind="server",
    platform_id=SERVER_ID,
    platform_name="Kite Builders",
    platform_user_id=USER_ID,
    platform_user_name="ada_k",
)
PRIVATE = Target(kind="user", platform_id=USER_ID, platform_user_id=USER_ID, platform_user_name="ada_k")


class BotApi:
    """A bot's REST calls."""

    def __init__(self, secret: str) -> None:
        self.secret = secret
        self._client = Client()

    def call(self, method: str, path: str, body: Any = None, **extra: Any) -> Any:
        data = body if isinstance(body, (bytes, str)) else "" if body is None else json.dumps(body)
        headers = {"HTTP_AUTHORIZATION": f"Bearer {self.secret}", "content_type": "application/json", **extra}
        return self._client.generic(method, f"/api/v1/bot/{path}", data, **headers)

    def get(self, path: str) -> Any:
        return self.call("GET", path)

    def post(self, path: str, body: Any = None) -> Any:
        return self.call("POST", path, body)


@pytest.fixture
def make_bot(db: None) -> Callable[..., tuple[Bot, BotApi]]:
    """Return a function that registers bots."""

    def make(name: str = "concierge", **over: Any) -> tuple[Bot, BotApi]:
        bot, secret = register_bot(name=name, **{"platform": "discord", **over})
        return bot, BotApi(secret)

    return make


@pytest.fixture
def bot(make_bot: Callable[..., tuple[Bot, BotApi]]) -> Bot:
    """The bot that a test is about."""
    return make_bot()[0]


@pytest.fixture
def bot_api(make_bot: Callable[..., tuple[Bot, BotApi]]) -> BotApi:
    """Its calls."""
    return make_bot()[1]


@pytest.fixture
def issue(bot: Bot) -> Callable[..., Issued]:
    """Return a function that issues tokens to the bot."""
    return lambda target=SERVER: issue_link_token(bot=bot, target=target)


def wrong(code: str) -> str:
    """Return a code that is not this one."""
    return f"{(int(code) + 1) % 10**6:06}"
