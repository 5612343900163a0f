"""Files that go with messages, on the page: sent from elsewhere, in an edited message, and after a reload."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from tests.browser.pages import PATIENCE_MS, ChatPage
from tests.pictures import PNG

pytestmark = pytest.mark.browser
NewChat = Callable[..., ChatPage]

_LOADED = "(picture) => picture.complete && picture.naturalWidth > 0"


def call(chat: ChatPage, path: str, **body: Any) -> Any:
    """Make a REST call as the person who is logged in."""
    parts = urlsplit(chat.page.url)
    origin = f"{parts.scheme}://{parts.netloc}"
    [token] = [cookie["value"] for cookie in chat.page.context.cookies() if cookie["name"] == "holdfast_csrf"]
    headers = {"X-CSRFToken": token, "Referer": origin}
    answer = chat.page.context.request.post(f"{origin}/api/v1/{path}", headers=headers, **body)
    assert answer.ok, answer.text()
    return answer.json()


def upload(chat: ChatPage, name: str, content: bytes) -> str:
    file = {"name": name, "mimeType": "text/html", "buffer": content}
    return str(call(chat, "files", multipart={"file": file})["id"])


def test_a_picture_is_shown_wherever_its_message_is(new_chat: NewChat) -> None:
    chat = new_chat()
    chat.send("/words 2")
    chat.until_settled(1)
    session = urlsplit(chat.url).path.split("/")[2]
    files = [upload(chat, "a.png", PNG), upload(chat, "page.html", b"<script>alert(1)</script>")]
    call(chat, f"sessions/{session}/messages", data={"text": "/words 3", "attachments": files})
    chat.until_settled(2)
    question = chat.questions.nth(1)
    picture = question.get_by_role("img", name="a.png")
    expect(picture).to_be_visible(timeout=PATIENCE_MS)
    assert picture.evaluate(_LOADED)
    link = question.get_by_role("link", name="page.html")
    with chat.page.expect_download() as download:
        link.click()
    assert download.value.suggested_filename == "page.html"

    question.hover()
    question.get_by_role("button", name="Edit", exact=True).click()
    box = chat.page.get_by_label("Edit your message")
    box.fill("/words 4")
    box.press("Enter")
    expect(question.locator(".said")).to_have_text("/words 4", timeout=PATIENCE_MS)
    chat.until_settled(2)
    expect(question.get_by_role("img", name="a.png")).to_be_visible()
    expect(question.get_by_role("link", name="page.html")).to_be_visible()
    shown = chat.transcript()
    chat.reload()
    assert chat.transcript() == shown


def test_files_are_chosen_sent_and_shown(new_chat: NewChat) -> None:
    chat = new_chat()
    chat.send("/words 2")
    chat.until_settled(1)
    chosen = chat.page.locator(".attached li")
    chat.page.locator("input[type=file]").set_input_files(
        [
            {"name": "a.png", "mimeType": "image/png", "buffer": PNG},
            {"name": "b.txt", "mimeType": "text/plain", "buffer": b"text"},
        ]
    )
    expect(chat.page.locator(".attached li:not([aria-busy])")).to_have_count(2, timeout=PATIENCE_MS)
    chat.page.get_by_role("button", name="Remove b.txt").click()
    expect(chosen).to_have_count(1)
    chat.send("/words 3")
    expect(chosen).to_have_count(0)
    chat.until_settled(2)
    expect(chat.questions.nth(1).get_by_role("img", name="a.png")).to_be_visible()
    shown = chat.transcript()
    chat.reload()
    assert chat.transcript() == shown


def test_a_waiting_message_that_is_taken_back_gives_its_files_back(new_chat: NewChat) -> None:
    chat = new_chat()
    chat.send("/words 300 50")
    chat.until_shown("w2")
    chat.page.locator("input[type=file]").set_input_files([{"name": "a.png", "mimeType": "x/y", "buffer": PNG}])
    expect(chat.page.locator(".attached li:not([aria-busy])")).to_have_count(1, timeout=PATIENCE_MS)
    chat.send("/words 3")
    expect(chat.queued).to_have_count(1, timeout=PATIENCE_MS)
    chat.queued.get_by_role("button", name="Withdraw").click()
    expect(chat.page.locator(".attached li")).to_have_count(1, timeout=PATIENCE_MS)
    chat.stop.click()
    chat.until_settled(1)
