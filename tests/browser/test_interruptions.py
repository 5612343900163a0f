"""Reloads, lost connections and killed servers in the middle of an answer: the page shows all of it, once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, expect

from tests.browser.line import Line
from tests.browser.pages import PATIENCE_MS, UNREACHABLE, ChatPage, Complaints, assert_paints, words
from tests.process.servers import EmbeddedServer, until

pytestmark = pytest.mark.browser
NewChat = Callable[..., ChatPage]


def ask(chat: ChatPage, count: int, *, until: int) -> None:
    """Ask for ``count`` words, one every 20 ms, and wait until word number ``until`` is on the page."""
    chat.send(f"/words {count} 20")
    chat.until_shown(f"w{until} ")


def assert_whole(chat: ChatPage, count: int) -> None:
    """Assert that the words asked for are there, now and after a reload, each once, and nothing else."""
    chat.until_settled(1)
    assert chat.answer() == words(1, count)
    shown = chat.texts()
    assert [who for who, _ in shown] == ["user", "assistant"]
    chat.reload()
    chat.until_settled(1)
    assert chat.texts() == shown


def test_a_reload_and_a_second_tab_in_the_middle_lose_and_repeat_nothing(new_chat: NewChat) -> None:
    chat = new_chat()
    ask(chat, 200, until=40)
    other = chat.second_tab()
    other.until_shown("w60 ")
    chat.reload()
    chat.until_shown("w90 ")
    for tab in (chat, other):
        tab.until_settled(1)
        assert_paints(tab, words(1, 200))
    assert chat.texts() == other.texts()
    assert_whole(chat, 200)


def test_a_browser_that_is_offline_while_the_rest_is_written_shows_it_when_it_is_back(
    new_chat: NewChat, context: BrowserContext, complaints: Complaints
) -> None:
    complaints.expect(UNREACHABLE)
    chat = new_chat()
    ask(chat, 100, until=20)
    context.set_offline(True)
    until("end of the turn", lambda: chat.stored()["active_turn"] is None, 20)
    assert chat.answer() != words(1, 100)
    context.set_offline(False)
    chat.until_settled(1)
    assert_paints(chat, words(1, 100))
    assert_whole(chat, 100)


def test_a_line_that_is_cut_in_the_middle_and_mended_brings_the_rest(
    new_chat: NewChat, line: Line, complaints: Complaints
) -> None:
    complaints.expect(UNREACHABLE)
    chat = new_chat(url=line.url)
    ask(chat, 100, until=40)
    line.cut()
    expect(chat.connection).to_have_text("Reconnecting…", timeout=PATIENCE_MS)
    line.mend()
    expect(chat.connection).to_have_text("", timeout=PATIENCE_MS)
    chat.until_settled(1)
    assert_paints(chat, words(1, 100))
    assert_whole(chat, 100)


def test_a_message_sent_without_a_connection_arrives_once(
    new_chat: NewChat, line: Line, complaints: Complaints
) -> None:
    complaints.expect(UNREACHABLE)
    chat = new_chat(url=line.url)
    line.cut()
    expect(chat.connection).to_have_text("Reconnecting…", timeout=PATIENCE_MS)
    chat.send("/words 5")
    expect(chat.questions).to_have_count(1)
    line.mend()
    assert_answers(chat, 5)


def test_a_message_sent_into_a_line_that_fell_silent_arrives_once(
    new_chat: NewChat, line: Line, complaints: Complaints
) -> None:
    complaints.expect(UNREACHABLE)
    chat = new_chat(url=line.url)
    chat.send("/words 3")
    chat.until_settled(1)
    line.freeze()
    chat.send("/words 5")
    expect(chat.connection).to_have_text("Reconnecting…", timeout=PATIENCE_MS)
    line.mend()  # what lay in the line arrives after all, and the page sends it again
    assert_answers(chat, 3, 5)


def assert_answers(chat: ChatPage, *counts: int) -> None:
    """Assert that so many words were asked for and said, one after the other, now and after a reload."""
    for _ in range(2):
        chat.until_settled(len(counts))
        assert [who for who, _ in chat.texts()] == ["user", "assistant"] * len(counts)
        assert chat.questions.locator(".said").all_inner_texts() == [f"/words {count}" for count in counts]
        assert chat.answers.locator(".markdown").all_inner_texts() == [words(1, count) for count in counts]
        chat.reload()


def test_a_server_killed_in_the_middle_and_started_again_ends_the_answer_on_the_open_page(
    new_chat: NewChat, server: EmbeddedServer, complaints: Complaints
) -> None:
    complaints.expect(UNREACHABLE)
    chat = new_chat()
    ask(chat, 200, until=60)
    chat.page.evaluate("window.sameDocument = true")
    server.server.kill()
    expect(chat.connection).to_have_text("Reconnecting…", timeout=PATIENCE_MS)
    assert chat.answer().startswith(words(1, 60))
    server.restart()
    chat.until_settled(1)
    assert chat.page.evaluate("window.sameDocument"), "the page was loaded again"
    assert_paints(chat, words(1, 200), shrinks=lambda before, after: before.startswith(after))
    assert_whole(chat, 200)
