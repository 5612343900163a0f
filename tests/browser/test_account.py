"""A person takes their data along in a real browser, and is asked before they leave."""

from __future__ import annotations

import re
from zipfile import ZipFile

import pytest
from playwright.sync_api import BrowserContext, expect

from tests.browser.pages import Complaints
from tests.process.servers import EmbeddedServer

pytestmark = pytest.mark.browser


def test_the_download_is_a_whole_archive(context: BrowserContext, server: EmbeddedServer) -> None:
    page = context.new_page()
    page.goto(server.url)
    page.locator(".who").click()
    expect(page.get_by_role("heading", name="Your data")).to_be_visible()
    with page.expect_download() as downloading:
        page.get_by_role("button", name="Download my data").click()
    assert downloading.value.suggested_filename.endswith(".zip")
    archive = ZipFile(downloading.value.path())
    assert archive.testzip() is None
    assert "manifest.json" in archive.namelist()


def test_who_leaves_is_asked_for_their_name_and_told_what_is_wrong(
    context: BrowserContext, server: EmbeddedServer, complaints: Complaints
) -> None:
    page = context.new_page()
    page.goto(f"{server.url}/account/data/")
    page.get_by_role("link", name="Delete my account…").click()
    page.get_by_label("type your user name").fill("somebody")
    complaints.expect(re.compile("400"))  # that nothing was done
    page.get_by_role("button", name="Delete my account").click()
    expect(page.get_by_role("alert")).to_have_text("That is not your user name. Nothing was deleted.")
