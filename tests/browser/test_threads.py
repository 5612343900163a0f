"""A thread of a linked server in its owner's page: each message says who wrote it, live and after a reload."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, expect

from tests.browser.pages import ChatPage, Complaints, assert_fits, assert_same_after_reload, without_settling
from tests.process.servers import EmbeddedServer

pytestmark = pytest.mark.browser

HOSTILE = "<img src=x onerror=alert(1)> Bob"
SERVER = {"kind": "server", "platform_id": "s1"}
Say = Callable[..., dict[str, Any]]


@pytest.fixture
def say(server: EmbeddedServer, context: BrowserContext) -> Say:
    """Return a function that passes on what somebody says in a server that the first user linked."""
    key = server.manage("create_bot", "concierge", "--platform", "discord").split()[-1]
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}

    def post(path: str, body: dict[str, Any], **own: str) -> Any:
        answer = context.request.post(
            f"{server.url}/api/v1/{path}", data=json.dumps(body), headers={**headers, **own}
        )
        assert answer.ok, answer.text()
        return answer.json()

    if not post("bot/links/resolve", SERVER)["linked"]:
        made = post("bot/link-tokens", SERVER)
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', context.request.get(server.url).text())
        assert token
        own = {"X-CSRFToken": token[1], "Content-Type": "application/json"}
        confirm = f"{server.url}/api/v1/link-tokens/{made['token']}/confirm"
        done = context.request.post(
            confirm, data=json.dumps({"kind": "server", "code": made["code"]}), headers=own
        )
        assert done.ok, done.text()
    return lambda text, **more: post("bot/turns", {**SERVER, "text": text, **more})


def opened(context: BrowserContext, server: EmbeddedServer, said: dict[str, Any]) -> ChatPage:
    """Open the page of the thread's session."""
    page = context.new_page()
    page.goto(f"{server.url}/c/{said['turn']['session']}/")
    return ChatPage(page)


def test_a_message_names_its_writer_while_it_waits_when_it_is_read_and_after_a_reload(
    say: Say, context: BrowserContext, server: EmbeddedServer, complaints: Complaints
) -> None:
    without_settling(context, complaints)
    said = say("/words 40 50\n/step\n/words 2", author="Grace", thread_id="a")
    chat = opened(context, server, said)
    expect(chat.questions.first.locator(".byline")).to_have_text("Grace")
    say("/words 3", author=HOSTILE, thread_id="a")
    expect(chat.queued.locator(".what")).to_have_text(f"{HOSTILE} /words 3")
    expect(chat.questions.nth(1).locator(".byline")).to_have_text(HOSTILE)
    expect(chat.questions.nth(1).locator("h2")).to_have_text(HOSTILE)
    chat.until_over(2)
    assert_fits(chat.page)
    assert_same_after_reload(chat)
    assert chat.page.locator("img").count() == 0
    expect(chat.questions.nth(1).locator(".byline")).to_have_text(HOSTILE)


def test_what_the_owner_writes_on_the_page_bears_no_name(
    say: Say, context: BrowserContext, server: EmbeddedServer
) -> None:
    said = say("/words 1", author="Grace", thread_id="b")
    chat = opened(context, server, said)
    chat.until_settled(1)
    chat.send("/words 2")
    chat.until_settled(2)
    expect(chat.questions.nth(1).locator(".byline")).to_have_count(0)
    expect(chat.questions.nth(0).locator(".byline")).to_have_text("Grace")
