"""At its most talkative the log does not say who somebody is elsewhere, what opens something, or what was said."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.test import AsyncClient

from common.db import db
from common.logs import JsonFormatter, LineFormatter
from copilot.models import User
from linking.bots import register_bot
from linking.keys import issue_key
from linking.login import issue_login_link
from linking.webhooks.deliver import deliver_due
from tests.harness import Crew, crew, hints
from tests.linking.receiving import Receiver, receiver

__all__ = ["crew", "hints", "receiver"]

pytestmark = pytest.mark.django_db(transaction=True)

#: As no other text has them, so that they are found wherever they get to.
SERVER_ID, THREAD_ID = "plat-srv-8138438876", "plat-thread-3391"
OWNER_ID, STRANGER_ID, PRIVATE_ID = "plat-usr-8035111022", "plat-usr-7712", "plat-priv-5521"
NAMES = ["Kite Builders of Arles", "Ada Kestrel", "Strix Aluco"]
TEXTS = ["xylophone in the cellar", "marmalade for the notary", "quincunx of lanterns"]


#: Loggers that would write texts, and are kept from it whatever else is let through.
QUIET = [name for name, how in settings.LOGGING["loggers"].items() if how["level"] == "CRITICAL"]


class Log:
    """What the server writes: the records, and the lines made of them, for people and for programs."""

    def __init__(self) -> None:
        self._lines = io.StringIO()
        self._handler = logging.StreamHandler(self._lines)
        self._handler.setFormatter(LineFormatter())
        self._handler.addFilter(self._keep)
        self._json = logging.StreamHandler(self._lines)
        self._json.setFormatter(JsonFormatter())
        self.raw: list[str] = []
        self.root = logging.getLogger()

    def _keep(self, record: logging.LogRecord) -> bool:
        self.raw.append(logging.Formatter().format(record) + str(record.__dict__))
        return True

    @property
    def lines(self) -> str:
        return self._lines.getvalue()

    def holding(self, secrets: list[str]) -> list[str]:
        """Return the lines that hold one of ``secrets``, in whatever case."""
        low = [secret.lower() for secret in secrets]
        return [line for line in self.lines.splitlines() if any(secret in line.lower() for secret in low)]

    def __enter__(self) -> Log:
        names = [name for name in logging.Logger.manager.loggerDict if name not in QUIET]
        known = [logging.getLogger(name) for name in names]
        self._levels = {each: (each.level, each.disabled) for each in [self.root, *known]}
        for each in self._levels:
            each.setLevel(logging.DEBUG)
            each.disabled = False
        self.root.addHandler(self._handler)
        self.root.addHandler(self._json)
        return self

    def __exit__(self, *exc: object) -> None:
        self.root.removeHandler(self._handler)
        self.root.removeHandler(self._json)
        for each, (level, disabled) in self._levels.items():
            each.setLevel(level)
            each.disabled = disabled


@pytest.fixture
def log() -> Iterator[Log]:
    with Log() as log:
        yield log


class Caller:
    """Somebody's calls; what answers say is kept for looking through."""

    def __init__(self, secret: str) -> None:
        self._client, self._auth = AsyncClient(), {"Authorization": f"Bearer {secret}"}

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        made = getattr(self._client, method.lower())
        more = {} if body is None else {"data": body, "content_type": "application/json"}
        return await made(f"/api/v1/{path}", headers=self._auth, **more)

    async def post(self, path: str, body: Any = None) -> Any:
        return (await self.call("POST", path, body)).json()


async def link(bot: Caller, person: Caller, target: dict[str, str]) -> list[str]:
    """Link something, after all that can go wrong; return the secrets that there were."""
    made = await bot.post("bot/link-tokens", target)
    confirmation = f"link-tokens/{made['token']}/confirm"
    wrong = f"{(int(made['code']) + 1) % 10**6:06}"
    await person.call("GET", f"link-tokens/{made['token']}")
    for wish in (
        {"kind": target["kind"], "code": wrong},
        {"kind": "nothing", "code": made["code"]},
        {"x": OWNER_ID},
    ):
        await person.post(confirmation, wish)
    for path in (f"/link/{made['token']}", f"/link/{made['token']}/x", f"/api/v1/link-tokens/{made['token']}/x"):
        await AsyncClient().get(path)
        await AsyncClient(enforce_csrf_checks=True).post(path)
    for _ in range(2):
        await person.post(confirmation, {"kind": target["kind"], "code": made["code"]})
    await bot.call("GET", f"bot/link-tokens/{made['token']}")
    return [made["token"], made["code"]]


async def talk(bot: Caller, place: dict[str, str], text: str) -> dict[str, Any]:
    """Say something in a place and return its turn, when it has ended or waits for somebody."""
    sent = await bot.post("bot/turns", {**place, "text": text})
    path = f"bot/turns/{sent['turn']['id']}"
    turn: dict[str, Any] = (await bot.call("GET", f"{path}?wait=20")).json()
    await bot.call("GET", f"{path}/events")
    return turn


async def decide(bot: Caller, turn: dict[str, Any], reason: str) -> None:
    """Have a stranger, and then the owner, refuse what a turn asks for."""
    call = turn["approval"]["requests"][0]["tool_call_id"]
    wish = {"decisions": [{"tool_call_id": call, "type": "reject", "reason": reason}]}
    for who in (STRANGER_ID, OWNER_ID, OWNER_ID):
        await bot.post(f"bot/approvals/{turn['approval']['id']}/decide", {**wish, "platform_user_id": who})
    await bot.call("GET", f"bot/turns/{turn['id']}?wait=20")


async def live(crew: Crew, user: User, receiver: Receiver) -> list[str]:
    """Do what people and bots do, and what goes wrong with it; return what must be in no line."""
    await crew.hire()
    _, bot_key = await db(lambda: register_bot(name="herald", platform="discord", scopes=["approve"]))
    _, person_key = await db(lambda: issue_key(user=user))
    bot, person = Caller(bot_key), Caller(person_key)
    webhook = await bot.call("PUT", "bot/webhook", {"url": receiver.url})
    target = {"platform_name": NAMES[0], "platform_user_id": OWNER_ID, "platform_user_name": NAMES[1]}
    secrets = [bot_key, person_key, webhook.json()["secret"]]
    secrets += await link(bot, person, {"kind": "server", "platform_id": SERVER_ID, **target})
    secrets += await link(bot, person, {"kind": "user", "platform_id": PRIVATE_ID})
    place = {"kind": "server", "platform_id": SERVER_ID, "thread_id": THREAD_ID}
    owner = {**place, "platform_user_id": OWNER_ID, "author": NAMES[1]}
    stranger = {**place, "platform_user_id": STRANGER_ID, "author": NAMES[2]}

    turns = [
        await talk(bot, owner, f"{TEXTS[0]}\n/words 3"),
        await talk(bot, stranger, f'{TEXTS[1]}\n/tool demo_boom {{"text": "{TEXTS[2]}"}}\n/results'),
        await talk(bot, stranger, f"{TEXTS[1]}\n/faillate network"),
        await talk(bot, {"kind": "user", "platform_id": PRIVATE_ID}, TEXTS[2]),
    ]
    asked = await talk(bot, owner, f'/tool demo_note {{"text": "{TEXTS[0]}"}}')
    await decide(bot, asked, TEXTS[1])
    assert {turn["status"] for turn in [*turns, asked]} == {"completed", "failed", "requires_action"}

    for body in ({**owner, "text": ""}, {**owner, "text": TEXTS[0], TEXTS[1]: 1}, {**owner, "kind": SERVER_ID}):
        await bot.call("POST", "bot/turns", body)
    await bot.call("POST", "bot/turns", {**owner, "platform_id": STRANGER_ID, "text": TEXTS[0]})
    await person.call("POST", f"sessions/{turns[0]['session']}/messages", {"text": TEXTS[2], "titel": TEXTS[1]})
    await person.call("GET", f"sessions?search={TEXTS[0]}")
    await go_astray(user, secrets)
    receiver.statuses = [500, 204]
    await deliver_due()
    for found in (await person.call("GET", "links")).json()["results"]:
        await person.call("DELETE", f"links/{found['id']}")
    return [*secrets, SERVER_ID, THREAD_ID, OWNER_ID, STRANGER_ID, PRIVATE_ID, *NAMES, *TEXTS]


async def go_astray(user: User, secrets: list[str]) -> None:
    """Send keys and tokens to where they do not belong."""
    browser = AsyncClient(enforce_csrf_checks=True)
    login = await db(lambda: issue_login_link(user=user))
    secrets.append(login.split("/")[2])
    for path in (login, login + "x"):
        await browser.get(path)
        await browser.post(path)
    for key in secrets[:2]:
        for path in ("/api/v1/me", "/api/v1/bot/approvals", "/api/v1/turns/x/stream"):
            await browser.get(f"{path}?key={key}")
            await browser.get(path, headers={"Authorization": f"Bearer {key}x"})
            await browser.get(path, headers={"Authorization": f"Bearer {key}"})
        await browser.get(f"/s/{key}")


async def test_no_line_tells_who_opens_or_says_something(
    log: Log, crew: Crew, user: User, receiver: Receiver
) -> None:
    secrets = await live(crew, user, receiver)
    loggers = {line.split()[3] for line in log.lines.splitlines() if line.startswith("20")}
    assert {"copilot.worker", "django.request", "linking.webhooks.deliver"} <= loggers
    assert log.holding(secrets) == []
    # Collectors of errors see records as they are: the formatter hides keys and the tokens of paths, nothing else.
    said = [SERVER_ID, THREAD_ID, OWNER_ID, STRANGER_ID, PRIVATE_ID, *NAMES, *TEXTS]
    assert [raw for raw in log.raw if any(each in raw for each in said)] == []


def test_a_line_that_holds_something_is_found(log: Log) -> None:
    logging.getLogger("linking.links").debug("linked %s", SERVER_ID)
    logging.getLogger("a.library").debug("sent", extra={"body": {"text": TEXTS[0].upper()}})
    found = log.holding([SERVER_ID, *TEXTS])
    assert [line.startswith("{") for line in found] == [False, True, False, True]
    assert log.holding([OWNER_ID]) == []
