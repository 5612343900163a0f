"""From the printed login to the first answer, and out again."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import BrowserContext, expect

from tests.browser.pages import ChatPage

pytestmark = pytest.mark.browser


def letters(text: str) -> int:
    """Count what stays when Markdown is rendered."""
    return len(re.sub(r"[\W_]", "", text))


def test_by_the_printed_link_to_the_first_answer_and_out_again(stranger: BrowserContext, login_url: str) -> None:
    page = stranger.new_page()
    page.goto(login_url)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("What can I do for you?")

    page.fill("#text", "Hello there")
    page.press("#text", "Enter")
    page.wait_for_url("**/c/*/")
    chat = ChatPage(page)
    chat.until_settled(1)
    sizes = [letters(shown) for shown in chat.paints()]
    assert len(sizes) > 5, "the answer was there at once"
    assert sizes == sorted(sizes)
    assert [who for who, _ in chat.texts()] == ["user", "assistant"]
    assert chat.answers.last.locator("strong").inner_text() == "demo model"
    assert chat.answers.last.locator("li").count() == 4
    expect(page.locator("#text")).to_be_focused()
    assert page.locator("#sessions a").count() == 1

    other = stranger.new_page()
    other.goto(page.url)
    other.get_by_role("button", name="Log out").click()
    other.wait_for_url("**/login/")
    page.wait_for_url("**/login/?next=*", timeout=10_000)  # the connection of the page left open ends too
    expect(page.locator("[name=username]")).to_be_visible()
