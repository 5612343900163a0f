"""What a person sends before the page's own scripts have come is sent when they are there."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Page, Route, expect

from tests.browser.pages import UNREACHABLE, ChatPage
from tests.process.servers import EmbeddedServer

pytestmark = pytest.mark.browser


def press_enter(page: Page) -> None:
    page.press("#text", "Enter")


def click_send(page: Page) -> None:
    page.click("#send")


def test_a_page_whose_scripts_cannot_be_had_says_so(context: BrowserContext, server: EmbeddedServer) -> None:
    context.complaints.expect(UNREACHABLE)  # type: ignore[attr-defined]
    page = context.new_page()
    page.route("**/composer*.js", lambda route: route.abort())
    page.goto(server.url)
    expect(page.get_by_role("alert")).to_contain_text("Reload it")


@pytest.mark.parametrize("send", [press_enter, click_send])
@pytest.mark.parametrize("path", ["new chat", "session"])
def test_a_message_sent_before_the_scripts_have_come_is_sent_when_they_have(
    path: str,
    send: Callable[[Page], None],
    context: BrowserContext,
    server: EmbeddedServer,
    new_chat: Callable[..., ChatPage],
) -> None:
    url = server.url if path == "new chat" else new_chat().page.url
    page = context.new_page()
    held: list[Route] = []
    page.route("**/composer*.js", lambda route: held.append(route), times=1)
    page.goto(url, wait_until="commit")
    page.fill("#text", "Hello, early bird")
    send(page)
    expect(page.locator("#text")).to_have_value("Hello, early bird")

    held.pop().continue_()
    page.wait_for_url("**/c/*/")
    chat = ChatPage(page)
    chat.until_settled(1)
    assert [who for who, _ in chat.texts()] == ["user", "assistant"]
    assert chat.texts()[0][1] == "You Hello, early bird"
    assert "text=" not in page.url
