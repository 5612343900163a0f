"""What people do with the cards on which they decide."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, expect

from tests.browser.pages import PATIENCE_MS, ChatPage
from tests.process.servers import EmbeddedServer

#: What no page may show.
SECRET = f"sk-proj-{'aB3dE5fG7h' * 5}"
#: How the time of a decision is shown.
CLOCK = r"\d\d:\d\d"


def note(text: str) -> str:
    """Return a message that asks for approval."""
    return f"/tool demo_note {json.dumps({'text': text})}"


def ask(chat: ChatPage, text: str) -> Locator:
    """Send a message and wait for the controls; return the common ones."""
    chat.send(text)
    bar = chat.page.locator(".ask-bar")
    expect(bar).to_be_visible(timeout=PATIENCE_MS)
    return bar


def press(chat: ChatPage, name: str) -> None:
    """Press a button on the card of a tool."""
    chat.page.locator(".tool").get_by_role("button", name=name, exact=True).click()


def by_lines(chat: ChatPage) -> list[str]:
    """Return what each card says of its decision."""
    return chat.page.locator(".tool-by").all_inner_texts()


def assert_decided(chat: ChatPage, *lines: str) -> None:
    """Assert that it is said how each call was decided, now and on a fresh page, and that nothing is asked."""
    chat.until_settled(1)
    for _ in range(2):
        assert chat.page.locator(".ask-bar").count() == 0
        found = by_lines(chat)
        assert len(found) == len(lines)
        for line, shown in zip(lines, found, strict=True):
            assert re.fullmatch(line, shown), shown
        before = chat.transcript()
        chat.reload()
        chat.until_settled(1)
        assert chat.transcript() == before


def calls(chat: ChatPage) -> list[dict[str, Any]]:
    """Return the parts of the tools, as the server has them."""
    messages = chat.stored()["messages"]
    return [part for message in messages for part in message["parts"] if part["type"] == "dynamic-tool"]


def notes(chat: ChatPage, server: EmbeddedServer) -> str:
    """Return what the tool wrote: what really happened."""
    session = chat.stored()["id"]
    return Path(server.data_dir, "workspaces", session, "notes.txt").read_text()
