"""A chat whose agent waits for another one: what that asks, and the way to it."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.browser.deciding import ask, calls, note, press
from tests.browser.pages import PATIENCE_MS, ChatPage
from tests.children.asking import run
from tests.process.servers import EmbeddedServer

pytestmark = pytest.mark.browser
NewChat = Callable[..., ChatPage]


def test_what_a_child_asks_is_decided_on_the_card_of_its_parent(new_chat: NewChat) -> None:
    chat = new_chat()
    ask(chat, run(note("hello")))
    expect(chat.page.locator(".tool")).to_have_count(1)
    assert "● " in chat.page.title()
    expect(chat.page.locator("#working-label")).to_have_text("Waiting for you.")
    press(chat, "Approve")
    chat.until_settled(1)
    assert chat.page.locator(".ask-bar").count() == 0
    assert "●" not in chat.page.title()
    [call] = calls(chat)
    assert call["output"]["status"] == "completed"
    before = chat.transcript()
    chat.reload()
    chat.until_settled(1)
    assert chat.transcript() == before


def test_the_question_is_still_there_after_a_reload_and_gone_once_decided_elsewhere(
    new_chat: NewChat, server: EmbeddedServer
) -> None:
    chat = new_chat()
    ask(chat, run(note("hello")))
    chat.reload()
    expect(chat.page.locator(".tool .ask-bar")).to_be_visible(timeout=PATIENCE_MS)
    inbox = chat.page.context.new_page()
    inbox.goto(f"{server.url}/approvals/")
    expect(inbox.locator(".ask-bar")).to_have_count(1)
    inbox.get_by_role("button", name="Approve", exact=True).click()
    expect(chat.page.locator(".ask-bar")).to_have_count(0, timeout=PATIENCE_MS)
    chat.until_settled(1)


def test_a_card_leads_to_the_child_and_that_back(new_chat: NewChat) -> None:
    chat = new_chat()
    chat.send(run("/words 3"))
    chat.until_settled(1)
    address = chat.page.url
    chat.page.locator(".tool summary").click()
    chat.page.get_by_role("link", name="Open the session").click()
    expect(chat.page.locator("#transcript")).to_contain_text("w1 w2 w3")
    expect(chat.page.locator(".message.user .tag")).to_have_text("agent")
    chat.page.get_by_role("link", name="Parent chat").click()
    expect(chat.page).to_have_url(re.compile(re.escape(address)))
