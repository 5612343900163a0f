"""Deciding on the page of a chat: what can be pressed, and what comes of it."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.browser.deciding import CLOCK, SECRET, ask, assert_decided, calls, note, notes, press
from tests.browser.pages import ChatPage
from tests.process.servers import EmbeddedServer

pytestmark = pytest.mark.browser
NewChat = Callable[..., ChatPage]


# --- each decision ----------------------------------------------------------------------------


def test_one_click_approves_and_the_card_says_who_and_when(new_chat: NewChat, server: EmbeddedServer) -> None:
    chat = new_chat()
    ask(chat, note("hello"))
    assert "● " in chat.page.title()
    expect(chat.page.locator("#working-label")).to_have_text("Waiting for you.")
    press(chat, "Approve")
    assert_decided(chat, rf"Approved by admin on the web, {CLOCK}")
    assert notes(chat, server) == "hello\n"
    assert "●" not in chat.page.title()


def test_an_approval_for_the_chat_is_not_asked_again(new_chat: NewChat, server: EmbeddedServer) -> None:
    chat = new_chat()
    ask(chat, note("hello"))
    chat.page.get_by_label("Allow").select_option("session")
    expect(chat.page.locator(".ask-hint")).to_have_text("demo_note will run without asking in this chat.")
    press(chat, "Approve")
    assert_decided(chat, rf"Approved by admin on the web, {CLOCK} · allowed for this chat")
    chat.send(note("again"))
    chat.until_settled(2)
    assert notes(chat, server) == "hello\nagain\n"


def test_a_rejected_call_shows_its_reason(new_chat: NewChat) -> None:
    chat = new_chat()
    ask(chat, note("hello"))
    press(chat, "Reject with a reason…")
    reason = chat.page.get_by_label("Reason, if you like")
    expect(reason).to_be_focused()
    reason.fill("x" * 2001)
    expect(chat.page.get_by_role("button", name="Reject", exact=True)).to_be_disabled()
    reason.fill("Not on a Sunday.")
    reason.press("Enter")
    assert_decided(chat, rf"Rejected by admin on the web, {CLOCK}")
    [call] = calls(chat)
    assert call["state"] == "output-denied"
    assert call["approval"]["reason"] == "Not on a Sunday."
    chat.page.locator(".tool summary").click()
    expect(chat.page.locator(".tool pre").last).to_have_text("Not on a Sunday.")


def test_edited_arguments_run_and_the_old_ones_stay_readable(new_chat: NewChat, server: EmbeddedServer) -> None:
    chat = new_chat()
    ask(chat, note("hello"))
    press(chat, "Edit…")
    field = chat.page.get_by_label("text", exact=True)
    expect(field).to_have_value("hello")
    field.press("Escape")
    expect(chat.page.get_by_role("button", name="Edit…")).to_be_focused()
    press(chat, "Edit…")
    field.fill("changed")
    press(chat, "Run with changes")
    assert_decided(chat, rf"Approved with changes by admin on the web, {CLOCK}")
    assert notes(chat, server) == "changed\n"
    chat.page.locator(".tool summary").click()
    expect(chat.page.locator(".tool h3")).to_have_text(["Asked for", "Input", "Output"])
    expect(chat.page.locator(".tool pre").first).to_contain_text("hello")


def test_edited_json_is_submitted_only_when_the_tool_would_accept_it(
    new_chat: NewChat, server: EmbeddedServer
) -> None:
    chat = new_chat()
    ask(chat, note("hello"))
    press(chat, "Edit…")
    press(chat, "JSON")
    box = chat.page.get_by_label("Arguments as JSON")
    run = chat.page.get_by_role("button", name="Run with changes")
    for wrong in ("", "[]", "{", "null", "{}", '{"text": 5}', '{"text": "a", "more": 1}'):
        box.fill(wrong)
        expect(run).to_be_disabled()
        assert chat.page.locator(".ask-editor > .field-problem").inner_text()
    box.fill('{"text": "by hand"}')
    run.click()
    assert_decided(chat, rf"Approved with changes by admin on the web, {CLOCK}")
    assert notes(chat, server) == "by hand\n"


def test_a_response_takes_the_place_of_the_result(new_chat: NewChat) -> None:
    chat = new_chat()
    ask(chat, note("hello"))
    press(chat, "Respond…")
    send = chat.page.get_by_role("button", name="Send response")
    box = chat.page.locator(".ask-panel textarea")
    box.fill(" \n ")
    expect(send).to_be_disabled()
    box.fill("I wrote it down myself.")
    send.click()
    assert_decided(chat, rf"Answered by admin on the web, {CLOCK}")
    assert calls(chat)[0]["output"] == "I wrote it down myself."


def test_a_batch_is_decided_with_one_submit(new_chat: NewChat, server: EmbeddedServer) -> None:
    chat = new_chat()
    bar = ask(chat, f"{note('one')}\n{note('two')}")
    expect(chat.page.locator(".ask-call")).to_have_count(2)
    submit = bar.get_by_role("button", name="Submit 2 decisions")
    expect(submit).to_be_disabled()
    first, second = chat.page.locator(".tool").all()
    first.get_by_text("Reject").click()
    expect(submit).to_be_disabled()
    first.locator("textarea").fill("Once is enough.")
    second.get_by_text("Approve", exact=True).click()
    submit.click()
    admin = f"by admin on the web, {CLOCK}"
    assert_decided(chat, f"Rejected {admin}", f"Approved {admin}")
    assert notes(chat, server) == "two\n"
    assert [call["state"] for call in calls(chat)] == ["output-denied", "output-available"]


def test_a_question_is_answered_by_one_of_its_options(new_chat: NewChat) -> None:
    chat = new_chat()
    ask(chat, "/ask Which? | this | that\n/results")
    expect(chat.page.locator("#text")).to_have_attribute("placeholder", "Waits for your answer")
    press(chat, "that")
    assert_decided(chat, rf"Answered by admin on the web, {CLOCK}")
    expect(chat.page.locator(".tool pre")).to_have_text(["Which?", "that"])


def test_a_question_is_answered_in_own_words(new_chat: NewChat) -> None:
    chat = new_chat()
    ask(chat, "/ask Which? | this | that\n/results")
    answer = chat.page.get_by_label("Or answer in your own words")
    button = chat.page.get_by_role("button", name="Answer", exact=True)
    expect(button).to_be_disabled()
    answer.fill("Neither")
    expect(button).to_be_enabled()
    answer.press("Shift+Enter")
    answer.press_sequentially("of them.")
    answer.press("Enter")
    assert_decided(chat, rf"Answered by admin on the web, {CLOCK}")
    assert calls(chat)[0]["output"] == "Neither\nof them."


# --- what is hidden ---------------------------------------------------------------------------


def test_a_hidden_value_passes_through_an_edit_unchanged(new_chat: NewChat, server: EmbeddedServer) -> None:
    chat = new_chat()
    ask(chat, note(f"Authorization: Bearer {SECRET} for example.com"))
    press(chat, "Edit…")
    assert SECRET not in chat.page.locator(".tool").inner_html()
    chat.page.get_by_label("text, part 2").fill(" for example.org")
    press(chat, "Run with changes")
    chat.until_settled(1)
    assert notes(chat, server) == f"Authorization: Bearer {SECRET} for example.org\n"
    assert SECRET not in str(calls(chat))


def test_a_hidden_value_is_replaced_as_a_whole_or_not_at_all(new_chat: NewChat, server: EmbeddedServer) -> None:
    chat = new_chat()
    ask(chat, note(f"Authorization: Bearer {SECRET} for example.com"))
    press(chat, "Edit…")
    press(chat, "JSON")
    box = chat.page.get_by_label("Arguments as JSON")
    shown = box.input_value()
    hidden = re.findall("⟦hidden:[0-9a-f]{8}⟧", shown)
    assert len(hidden) == 1
    run = chat.page.get_by_role("button", name="Run with changes")
    for damaged in (hidden[0][:-1], hidden[0].replace("hidden:", "hidden:0"), "⟦hidden:00000000⟧"):
        box.fill(shown.replace(hidden[0], damaged))
        expect(run).to_be_disabled()
    box.fill(shown)
    expect(run).to_be_enabled()
    press(chat, "Form")
    chat.page.get_by_role("button", name="Replace the hidden value in text").click()
    expect(chat.page.get_by_label("text", exact=True)).to_have_value("Authorization: Bearer  for example.com")
    chat.page.get_by_label("text", exact=True).fill("nothing secret")
    run.click()
    chat.until_settled(1)
    assert notes(chat, server) == "nothing secret\n"
