"""A decision is asked for once: after reloads, in other tabs, if somebody else was quicker, and after its end."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, BrowserContext, StorageState, WebSocketRoute, expect

from tests.browser.conftest import DESKTOP
from tests.browser.deciding import SECRET, ask, assert_decided, calls, note, press
from tests.browser.pages import (
    PATIENCE_MS,
    ChatPage,
    Complaints,
    assert_fits,
    assert_same_after_reload,
    without_settling,
)
from tests.process.servers import EmbeddedServer, until

pytestmark = pytest.mark.browser
NewChat = Callable[..., ChatPage]

#: Runs in every page: how often controls of a decision were on the screen, and each place of the newest tool card.
WATCH = """
Object.assign(window, { asked: 0, places: [] });
const watch = () => {
  if (document.querySelector(".ask-bar button:not(:disabled)")) window.asked += 1;
  const cards = document.querySelectorAll(".tool");
  if (cards.length) {
    const { top, height } = cards[cards.length - 1].getBoundingClientRect();
    const column = document.querySelector(".scroll > .column").getBoundingClientRect();
    const place = [top - column.top, height, column.height].map(Math.round).join(" ");
    if (window.places.at(-1) !== place) window.places.push(place);
  }
  requestAnimationFrame(watch);
};
requestAnimationFrame(watch);
"""


def test_a_reload_keeps_the_card_in_its_place(new_chat: NewChat, context: BrowserContext) -> None:
    context.add_init_script(WATCH)
    for text in (f"/words 40\n{note('hello')}", f"{note('one')}\n{note('two')}", "/ask Which? | this | that"):
        chat = new_chat()
        ask(chat, text)
        chat.reload()
        chat.until("() => window.asked > 5")
        places: list[str] = chat.page.evaluate("window.places")
        assert len(set(places)) == 1, places


def test_without_scripts_it_is_shown_what_is_asked(
    new_chat: NewChat, browser: Browser, login: StorageState
) -> None:
    chat = new_chat()
    ask(chat, note(f"hello Bearer {SECRET}"))
    with browser.new_context(**DESKTOP, storage_state=login, java_script_enabled=False) as plain:
        page = plain.new_page()
        page.goto(chat.url)
        expect(page.locator(".tool[data-waiting]")).to_contain_text("waits for you")
        expect(page.locator(".ask-arguments dd")).to_have_text("hello Bearer hidden value")
        assert SECRET not in page.locator(".ask-call").inner_html()


def test_every_tab_shows_it_and_learns_of_the_decision_at_once(new_chat: NewChat) -> None:
    chat = new_chat()
    ask(chat, f"{note('hello')}\n/step\n/words 300 20")
    other = chat.second_tab()
    expect(other.page.locator(".ask-bar")).to_be_visible(timeout=PATIENCE_MS)
    press(other, "Approve")
    for tab in (chat, other):
        expect(tab.page.locator(".ask-bar")).to_have_count(0, timeout=PATIENCE_MS)
        expect(tab.page.locator(".tool-by")).to_contain_text("Approved by admin on the web")
        expect(tab.page.locator("#announce")).to_contain_text("Approved by admin")
    chat.stop.click()


def test_whoever_comes_second_is_told_who_was_first(new_chat: NewChat, complaints: Complaints) -> None:
    complaints.expect(re.compile("409"))
    chat = new_chat()
    is_deaf = False

    def pass_on(line: WebSocketRoute) -> None:
        server_side = line.connect_to_server()
        server_side.on_message(lambda frame: None if is_deaf else line.send(frame))

    chat.page.route_web_socket("**", pass_on)
    chat.reload()
    ask(chat, note("hello"))
    other = chat.second_tab()
    expect(other.page.locator(".ask-bar")).to_be_visible(timeout=PATIENCE_MS)
    is_deaf = True
    press(other, "Approve")
    expect(other.page.locator(".ask-bar")).to_have_count(0, timeout=PATIENCE_MS)
    press(chat, "Reject")
    expect(chat.page.locator(".tool-by")).to_contain_text("Approved by admin on the web", timeout=PATIENCE_MS)
    expect(chat.page.locator(".ask-bar")).to_have_count(0)


def test_a_decided_prompt_is_never_drawn_open_again(new_chat: NewChat, context: BrowserContext) -> None:
    context.add_init_script(WATCH)
    chat = new_chat()
    ask(chat, f"{note('hello')}\n/step\n/words 400 20")
    assert chat.page.evaluate("window.asked") > 0
    press(chat, "Approve")
    chat.until_shown("w20 ")
    chat.reload()
    other = chat.second_tab()
    for tab in (chat, other):
        tab.until_shown("w60 ")
        expect(tab.page.locator(".tool-by")).to_contain_text("Approved by admin")
        assert tab.page.evaluate("window.asked") == 0
    chat.stop.click()
    chat.until_settled(1)


def test_stopping_takes_the_controls_away(new_chat: NewChat) -> None:
    chat = new_chat()
    ask(chat, f"/words 5\n{note('hello')}")
    chat.send("later")
    expect(chat.queued.locator(".why")).to_have_text("waits for your approval")
    chat.stop.click()
    expect(chat.page.locator(".ask-bar")).to_have_count(0, timeout=PATIENCE_MS)
    assert_decided(chat, "Not decided: stopped before")
    assert calls(chat)[0]["state"] == "output-error"


def test_an_expired_prompt_can_be_decided_no_more(new_chat: NewChat, server: EmbeddedServer) -> None:
    chat = new_chat()
    bar = ask(chat, note("hello"))
    chat.page.evaluate("Date.now = ((now) => () => now() + 86_395_000)(Date.now.bind(Date))")
    expect(bar.locator(".ask-left")).to_have_text(re.compile(r"[1-5] s left|expired"), timeout=PATIENCE_MS)
    expect(bar.locator(".ask-left")).to_have_text("expired", timeout=PATIENCE_MS)
    expect(bar.get_by_role("button")).to_have_count(0)
    expect(bar.get_by_role("alert")).to_have_text("Nobody decided in time, so nothing of this runs.")
    approval = chat.stored()["active_turn"]["approval"]["id"]
    expire(server, approval)
    assert_decided(chat, "Nobody decided in time")
    expect(chat.answers.last.locator(".turn-stopped")).to_contain_text("nobody answered")


def expire(server: EmbeddedServer, approval: str) -> None:
    """Have the time to decide end now."""

    def done() -> bool:
        with sqlite3.connect(server.data_dir / "holdfast.sqlite3", timeout=10) as rows:
            past = "UPDATE approvals_action SET expires_at = created_at WHERE id = ?"
            return rows.execute(past, [approval.replace("-", "")]).rowcount == 1

    until("row of the approval", done, 10)


def test_the_live_view_of_every_decision_is_that_of_a_fresh_page(
    new_chat: NewChat, context: BrowserContext, complaints: Complaints
) -> None:
    without_settling(context, complaints)
    chat = new_chat()
    numbers = '/tool demo_note {"text": "hello"}\n/results'
    ask(chat, numbers)
    press(chat, "Approve")
    chat.until_over(1)
    ask(chat, f"/words 5\n{note('x')}\n{note('y')}\n/words 3")
    for card, choice in zip(chat.page.locator(".tool[data-waiting]").all(), ("Respond", "Reject"), strict=True):
        card.get_by_text(choice).click()
        card.locator("textarea").fill("A **reason**.")
    press(chat, "Submit 2 decisions")
    chat.until_over(2)
    ask(chat, note("hello"))
    press(chat, "Edit…")
    chat.page.get_by_label("text", exact=True).fill("changed")
    press(chat, "Run with changes")
    chat.until_over(3)
    ask(chat, "/ask Which? | this | that")
    press(chat, "this")
    chat.until_over(4)
    ask(chat, "/ask Why?")
    press(chat, "Do not answer")
    chat.until_over(5)
    ask(chat, note("hello"))
    chat.stop.click()
    chat.until_over(6)
    assert_same_after_reload(chat)


def test_the_card_fits_a_phone(phone: BrowserContext, new_chat: NewChat, server: EmbeddedServer) -> None:
    address = new_chat().url
    page = phone.new_page()
    page.goto(address)
    chat = ChatPage(page)
    ask(chat, note("w" * 300))
    assert_fits(page, "#send", "#stop", ".ask-bar .primary", ".ask-bar select")
    press(chat, "Edit…")
    assert_fits(page, ".ask-bar .primary")
    press(chat, "Cancel")
    press(chat, "Approve")
    chat.until_settled(1)
    ask(chat, f"{note('one')}\n{note('two')}")
    assert_fits(page, ".ask-bar .primary", ".tool:last-of-type .ask-choice")
