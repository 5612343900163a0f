"""The operators' pages in a browser: figures stay fresh, nobody loses their place, no page breaks the policy."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.pages import UNREACHABLE, ChatPage, Complaints, assert_fits
from tests.process.servers import EmbeddedServer

pytestmark = pytest.mark.browser

#: A little longer than the page waits.
LATER_MS = 31_000


@pytest.fixture
def diagnostics(context: BrowserContext, server: EmbeddedServer) -> Page:
    """The page of diagnostics, on a small screen and with a clock that the test moves."""
    page = context.new_page()
    page.set_viewport_size({"width": 1280, "height": 400})
    page.clock.install()
    page.goto(f"{server.url}/admin/diagnostics/")
    return page


def measured(page: Page) -> str:
    return page.locator("#figures time").get_attribute("datetime") or ""


def test_it_stays_fresh_and_where_one_was(diagnostics: Page) -> None:
    page = diagnostics
    card = page.locator("#figures .cards a", has_text="Failed")
    card.focus()
    page.evaluate("scrollTo(0, 300)")
    for _ in range(2):  # and it goes on
        before = measured(page)
        page.clock.run_for(LATER_MS)
        expect(page.locator("#figures time")).not_to_have_attribute("datetime", before)
        assert page.evaluate("scrollY") == 300
        expect(card).to_be_focused()


def test_it_says_when_it_is_not_fresh(diagnostics: Page, complaints: Complaints) -> None:
    page = diagnostics
    complaints.expect(UNREACHABLE)
    page.route("**/admin/diagnostics/", lambda route: route.abort())
    page.clock.run_for(LATER_MS)
    expect(page.locator("#stale")).to_be_visible()
    page.unroute("**/admin/diagnostics/")
    page.clock.run_for(LATER_MS)
    expect(page.locator("#stale")).to_be_hidden()


def test_who_is_logged_out_meanwhile_is_asked_to_log_in(diagnostics: Page) -> None:
    page = diagnostics
    page.context.clear_cookies()
    page.clock.run_for(LATER_MS)
    page.wait_for_url("**/admin/login/**")


def test_one_finds_a_turn_and_its_history(
    diagnostics: Page, new_chat: Callable[..., ChatPage], server: EmbeddedServer
) -> None:
    chat = new_chat()
    chat.send("/fail timeout")
    chat.until_settled(1)
    page = diagnostics
    page.goto(server.url + "/admin/")
    page.get_by_role("link", name="Diagnostics").click()
    page.locator("#figures .cards a", has_text="Failed").click()
    page.locator("#result_list").get_by_role("link", name="Timeline").first.click()
    expect(page.locator(".state")).to_contain_text("failed (timeout)")
    page.get_by_role("link", name="List them").click()
    expect(page.locator(".events li").first).to_contain_text("start")


def test_it_fits_a_phone(phone: BrowserContext, server: EmbeddedServer) -> None:
    page = phone.new_page()
    page.goto(f"{server.url}/admin/diagnostics/")
    assert_fits(page)
