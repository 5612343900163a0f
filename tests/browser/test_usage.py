"""A usage limit in the way of a conversation: what the page says, what it keeps, and where it leads."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser.model import PAUSE, Parrot
from tests.browser.pages import ChatPage, Complaints, assert_fits
from tests.process.servers import EmbeddedServer

pytestmark = pytest.mark.browser
REACHED = "You have used up what you may use today. You can go on from "


@pytest.fixture(scope="module")
def server(browser: Browser, parrot: Parrot, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """``manage.py up`` with a limit that one answer can reach."""
    data_dir = tmp_path_factory.mktemp("browser") / "data"
    limits = {"USAGE_DAILY_LIMIT_MICRODOLLARS": "1000000"}
    with EmbeddedServer(data_dir, {**parrot.settings, **limits, "SEND_RATE": "1000"}) as running:
        yield running


def test_what_a_limit_holds_or_refuses_says_until_when_and_is_not_lost(
    new_chat: Callable[..., ChatPage], parrot: Parrot, complaints: Complaints
) -> None:
    complaints.expect(re.compile("status of 429"))  # sending what is held is refused over REST
    parrot.will_say(f"One. {PAUSE}Two.")
    chat = new_chat(model="parrot/parrot")
    chat.send("Count.")
    chat.until_shown("One.")
    chat.send("And then?")
    expect(chat.queued).to_have_count(1)

    other = new_chat()
    other.send("/cost 1000000")
    other.until_settled(1)
    parrot.go_on()
    chat.until_settled(1)
    held = re.compile(r"^your usage limit is reached until .*\d\d:\d\d$")
    expect(chat.queued.locator(".why")).to_have_text(held)
    assert_fits(chat.page, "#composer")

    problem = chat.page.locator("#problem")
    chat.page.get_by_role("button", name="Send now").click()
    expect(problem).to_contain_text(REACHED)
    chat.reload()
    expect(chat.queued.locator(".why")).to_have_text(held)

    other.send("One more.")
    problem = other.page.locator("#problem")
    expect(problem).to_contain_text(REACHED)
    expect(other.page.locator("#text")).to_have_value("One more.")
    problem.get_by_role("link", name="See your usage").click()
    assert_used_up(other.page)


def assert_used_up(page: Page) -> None:
    """Assert that the page of usage says so."""
    expect(page.locator(".allowance")).to_have_count(1)
    expect(page.locator(".allowance h2")).to_have_text("Today 100.0 % used")
    expect(page.get_by_role("progressbar")).to_have_attribute("value", "100.0")


def test_a_phone_has_the_page_of_usage_too(phone: BrowserContext, server: EmbeddedServer) -> None:
    page = phone.new_page()
    page.goto(f"{server.url}/usage/")
    assert_fits(page, ".allowance")
