"""Editing, trying again and going between versions: on the page, in another tab, and after a reload."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Locator, expect

from tests.browser.pages import PATIENCE_MS, ChatPage, words

pytestmark = pytest.mark.browser
NewChat = Callable[..., ChatPage]


def said(chat: ChatPage) -> list[str]:
    """Return what the person's messages on the page say."""
    return chat.questions.locator(".said").all_inner_texts()


def press(message: Locator, name: str) -> None:
    """Press a button below a message."""
    message.hover()
    message.get_by_role("button", name=name, exact=True).click()


def edit(chat: ChatPage, place: int, text: str) -> None:
    """Write something else in the place of the person's message ``place`` and send it."""
    press(chat.questions.nth(place), "Edit")
    box = chat.page.get_by_label("Edit your message")
    box.fill(text)
    box.press("Enter")


def which(message: Locator) -> Locator:
    return message.locator(".which")


def assert_same_after_reload(*tabs: ChatPage) -> None:
    """What every tab shows is what a fresh page shows."""
    views = [tab.transcript() for tab in tabs]
    tabs[0].reload()
    fresh = tabs[0].transcript()
    assert all(view == fresh for view in views)


def until_said(chat: ChatPage, *texts: str) -> None:
    """Wait until the person's messages are these."""
    expect(chat.questions.locator(".said")).to_have_text(list(texts), timeout=PATIENCE_MS)


def test_an_edited_message_is_answered_anew_in_every_tab(new_chat: NewChat) -> None:
    chat = new_chat()
    for count in (2, 3, 4):
        chat.send(f"/words {count}")
        chat.until_shown(f"w{count}")
        chat.until_settled(count - 1)
    other = chat.second_tab()
    edit(chat, 1, "/words 7")
    for tab in (chat, other):
        until_said(tab, "/words 2", "/words 7")
        tab.until_settled(2)
        expect(which(tab.questions.nth(1))).to_have_text("2/2")
        assert tab.answer() == words(1, 7)
    assert_same_after_reload(chat, other)


def test_the_versions_of_a_message_can_be_gone_through(new_chat: NewChat) -> None:
    chat = new_chat()
    chat.send("/words 2")
    chat.until_settled(1)
    chat.send("/words 3")
    chat.until_settled(2)
    edit(chat, 0, "/words 5")
    chat.until_settled(1)
    expect(which(chat.questions.first)).to_have_text("2/2")
    other = chat.second_tab()
    press(chat.questions.first, "Previous version")
    for tab in (chat, other):
        until_said(tab, "/words 2", "/words 3")
        expect(which(tab.questions.first)).to_have_text("1/2")
        assert tab.answers.locator(".markdown").all_inner_texts() == [words(1, 2), words(1, 3)]
    expect(chat.questions.first.get_by_role("button", name="Next version")).to_be_focused()
    assert_same_after_reload(chat, other)
    chat.send("/words 4")
    chat.until_settled(3)
    press(chat.questions.first, "Next version")
    until_said(chat, "/words 5")
    press(chat.questions.first, "Previous version")
    until_said(chat, "/words 2", "/words 3", "/words 4")


def test_another_answer_takes_the_place_of_the_last_one(new_chat: NewChat) -> None:
    chat = new_chat()
    other = chat.second_tab()
    chat.send("/words 40 20")
    chat.until_shown("w40")
    chat.until_settled(1)
    press(chat.answers.last, "Try again")
    expect(chat.stop).to_be_visible()
    for tab in (chat, other):
        tab.until_shown("w40")
        tab.until_settled(1)
        expect(which(tab.answers.last)).to_have_text("2/2")
    assert_same_after_reload(chat, other)
    press(chat.answers.last, "Previous version")
    expect(which(chat.answers.last)).to_have_text("1/2")
    assert len(chat.stored()["messages"]) == 2


def test_stop_edit_and_send_again(new_chat: NewChat) -> None:
    chat = new_chat()
    chat.send("/sleep 60")
    expect(chat.stop).to_be_visible()
    expect(chat.questions.last.get_by_role("button", name="Edit")).to_be_hidden()
    chat.stop.click()
    expect(chat.questions.last.locator(".turn-stopped")).to_have_text("Stopped.", timeout=PATIENCE_MS)
    chat.until_settled(0)
    edit(chat, 0, "/words 3")
    until_said(chat, "/words 3")
    chat.until_settled(1)
    assert chat.answer() == words(1, 3)
    press(chat.questions.first, "Previous version")
    until_said(chat, "/sleep 60")
    expect(chat.questions.last.locator(".turn-stopped")).to_be_visible()
    assert_same_after_reload(chat)


def test_an_answer_that_was_never_given_can_be_asked_for_again(new_chat: NewChat) -> None:
    chat = new_chat()
    chat.send("/sleep 60")
    expect(chat.stop).to_be_visible()
    chat.stop.click()
    expect(chat.questions.last.locator(".turn-stopped")).to_be_visible()
    press(chat.questions.last, "Try again")
    expect(chat.stop).to_be_visible()
    expect(chat.questions.last.locator(".turn-stopped")).to_have_count(0)
    chat.stop.click()
    chat.until_settled(1)
    expect(chat.answers.last.locator(".turn-stopped")).to_have_text("Stopped.")
    expect(chat.page.locator(".turn-stopped")).to_have_count(1)
    assert_same_after_reload(chat)


def test_an_edit_that_is_not_sent_changes_nothing(new_chat: NewChat) -> None:
    chat = new_chat()
    chat.send("/words 2")
    chat.until_settled(1)
    shown = chat.transcript()
    press(chat.questions.first, "Edit")
    box = chat.page.get_by_label("Edit your message")
    expect(box).to_have_value("/words 2")
    expect(box).to_be_focused()
    box.press("Escape")
    expect(box).to_have_count(0)
    press(chat.questions.first, "Edit")
    chat.page.get_by_role("button", name="Cancel").click()
    assert chat.transcript() == shown
    assert len(chat.stored()["messages"]) == 2


def test_a_text_is_not_lost_when_its_message_goes(new_chat: NewChat) -> None:
    chat = new_chat()
    chat.send("/words 2")
    chat.until_settled(1)
    other = chat.second_tab()
    press(other.questions.first, "Edit")
    other.page.get_by_label("Edit your message").fill("half a thought")
    edit(chat, 0, "/words 3")
    until_said(other, "/words 3")
    expect(other.page.locator("#text")).to_have_value("half a thought")


def test_a_phone_can_do_all_of_it(phone: BrowserContext, new_chat: NewChat) -> None:
    url = new_chat().url
    page = phone.new_page()
    page.goto(url)
    chat = ChatPage(page)
    chat.send("/words 2")
    chat.until_settled(1)
    chat.questions.first.get_by_role("button", name="Edit").tap()
    page.get_by_label("Edit your message").fill("/words 4")
    page.locator(".editor").get_by_role("button", name="Send").tap()
    until_said(chat, "/words 4")
    chat.until_settled(1)
    chat.answers.last.get_by_role("button", name="Try again").tap()
    expect(which(chat.answers.last)).to_have_text("2/2", timeout=PATIENCE_MS)
    chat.questions.first.get_by_role("button", name="Previous version").tap()
    until_said(chat, "/words 2")
    wide: Any = page.evaluate("document.documentElement.scrollWidth > innerWidth")
    assert not wide
