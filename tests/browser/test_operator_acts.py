"""An operator stops somebody's turn in the admin, on a desk and on a phone."""

from __future__ import annotations

import pytest
from playwright.sync_api import BrowserContext, expect

from tests.browser.pages import PATIENCE_MS, ChatPage, assert_fits
from tests.process.servers import EmbeddedServer

pytestmark = pytest.mark.browser

CONFIRM = "#content form input[type=submit]"


@pytest.mark.parametrize("device", ["context", "phone"])
def test_a_turn_is_stopped_once_it_was_confirmed(
    device: str, request: pytest.FixtureRequest, server: EmbeddedServer
) -> None:
    context: BrowserContext = request.getfixturevalue(device)
    chat = ChatPage(context.new_page())
    chat.page.goto(server.url)
    chat.send("/words 2000 50")
    chat.until_shown("w3")
    admin = context.new_page()
    admin.goto(f"{server.url}/admin/copilot/turn/?status__exact=running")
    admin.check("#action-toggle")
    admin.select_option("select[name=action]", "stop")
    admin.get_by_role("button", name="Go").click()
    expect(admin.locator("#content h1")).to_have_text("Stop 1 turn?", timeout=PATIENCE_MS)
    assert_fits(admin, CONFIRM, "#content form a.button")
    admin.click(CONFIRM)
    expect(admin.locator(".messagelist")).to_contain_text("Stopped 1 of 1.", timeout=PATIENCE_MS)
    chat.until_over(1)
