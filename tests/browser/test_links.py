"""Linking in a browser: the confirmation, the list, and the notice, under the strict policy of our pages."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from playwright.sync_api import BrowserContext, expect

from tests.browser.pages import Complaints, assert_fits
from tests.process.servers import EmbeddedServer

pytestmark = pytest.mark.browser

Ask = Callable[..., dict[str, Any]]
LONG_NAME = "Kitebuildersofthenorthernislands" * 4


@pytest.fixture(scope="module")
def ask(server: EmbeddedServer) -> Ask:
    """Return a function with which a bot asks for a link of a server; answers with its address and code."""
    key = server.manage("create_bot", "concierge", "--platform", "discord").splitlines()[-1]

    def ask_for(platform_id: str, **fields: Any) -> dict[str, Any]:
        wish = {"kind": "server", "platform_id": platform_id, "platform_name": platform_id, **fields}
        wish = {"platform_user_id": "8035", "platform_user_name": "ada_k", **wish}
        answer = httpx2.post(
            f"{server.url}/api/v1/bot/link-tokens",
            json=wish,
            headers={"Authorization": f"Bearer {key}"},
            trust_env=False,
        )
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    return ask_for


def test_a_server_is_linked_told_and_unlinked(context: BrowserContext, complaints: Complaints, ask: Ask) -> None:
    complaints.expect(re.compile("400 "))  # of the wrong code
    asked = ask("Kite Builders")
    page = context.new_page()
    page.goto(asked["url"])
    expect(page.get_by_role("heading", level=1)).to_have_text("Link Kite Builders?")
    code = page.get_by_label("Code of six digits")
    expect(code).to_be_focused()

    code.fill("12")
    page.get_by_role("button", name="Link to").click()
    expect(page.get_by_role("alert")).to_have_count(0)  # the browser does not send what cannot be a code

    code.fill(f"{(int(asked['code']) + 1) % 10**6:06}")
    page.get_by_role("button", name="Link to").click()
    expect(page.get_by_role("alert")).to_contain_text("tries left: 4")

    code.fill(f"{asked['code'][:3]} {asked['code'][3:]}")
    code.press("Enter")
    expect(page.get_by_role("status")).to_have_text("Linked: Kite Builders.")
    entry = page.get_by_role("listitem").filter(has_text="Kite Builders")
    expect(entry).to_contain_text("are kept from people there")
    entry.get_by_role("button", name="Share what is yours").click()
    expect(entry).to_contain_text("Everybody there can use your instructions")

    page.get_by_role("link", name="Holdfast").click()
    notice = page.get_by_role("region", name="New link")
    expect(notice).to_contain_text("Kite Builders on discord was linked to your account.")
    notice.get_by_role("button", name="That was me").click()
    expect(page.locator("#start")).to_be_visible()  # still at home
    expect(notice).to_have_count(0)

    page.get_by_role("link", name="Links").click()
    page.get_by_role("button", name="Unlink Kite Builders").click()
    expect(page.get_by_role("status")).to_have_text("Unlinked.")
    expect(entry).to_have_count(0)


def test_who_is_not_logged_in_is_led_back(stranger: BrowserContext, ask: Ask) -> None:
    asked = ask("Elsewhere")
    page = stranger.new_page()
    page.goto(asked["url"])
    expect(page.get_by_role("heading", level=1)).to_have_text("Log in")
    assert page.locator('input[name="next"]').input_value() == asked["url"].removeprefix(
        re.match(r"https?://[^/]+", asked["url"])[0]  # type: ignore[index]
    )


def test_the_pages_fit_on_a_phone(phone: BrowserContext, server: EmbeddedServer, ask: Ask) -> None:
    asked = ask(LONG_NAME, platform_user_id="8" * 200, platform_user_name=LONG_NAME)
    page = phone.new_page()
    page.goto(asked["url"])
    assert_fits(page)
    page.get_by_label("Code of six digits").fill(asked["code"])
    page.get_by_role("button", name="Link to").click()
    expect(page.get_by_role("status")).to_be_visible()
    assert_fits(page, ".back")
    page.goto(server.url)
    expect(page.get_by_role("region", name="New link")).to_be_visible()
    assert_fits(page)
