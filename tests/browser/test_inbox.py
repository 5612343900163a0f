"""What waits for a person, wherever they are: the inbox, the count on every page, and the marks in the sidebar."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from tests.browser.line import Line
from tests.browser.pages import PATIENCE_MS, UNREACHABLE, Complaints
from tests.process.servers import EmbeddedServer, until

pytestmark = pytest.mark.browser


class Person:
    """What the person does elsewhere: over REST, with the browser's cookies."""

    def __init__(self, context: BrowserContext, server: EmbeddedServer) -> None:
        self._request, self.url = context.request, server.url
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', self._request.get(server.url).text())
        assert token
        self._headers = {"Content-Type": "application/json", "X-CSRFToken": token[1]}

    def get(self, path: str) -> Any:
        return self._request.get(f"{self.url}/api/v1/{path}").json()

    def post(self, path: str, body: Any) -> Any:
        answer = self._request.post(f"{self.url}/api/v1/{path}", data=json.dumps(body), headers=self._headers)
        assert answer.ok, answer.text()
        return answer.json()

    def delete(self, path: str) -> None:
        answer = self._request.delete(f"{self.url}/api/v1/{path}", headers=self._headers)
        assert answer.ok, answer.text()

    def waiting(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get("approvals?status=pending")["results"]
        return found

    def chat(self, title: str, text: str) -> str:
        """Begin a chat with a message; return its id."""
        session: str = self.post("sessions", {"title": title})["id"]
        self.post(f"sessions/{session}/messages", {"text": text})
        return session

    def ask(self, title: str, *texts: str) -> dict[str, Any]:
        """Begin a chat that waits to write these notes; return what it asks."""
        lines = [f"/tool demo_note {json.dumps({'text': text})}" for text in texts]
        session = self.chat(title, "\n".join(lines))

        def asked() -> list[dict[str, Any]]:
            return [action for action in self.waiting() if action["session"] == session]

        until("the chat asks", asked, 20)
        return asked()[0]

    def decide(self, action: dict[str, Any], kind: str) -> None:
        """Decide all calls of an action."""
        decisions = [{"tool_call_id": each["tool_call_id"], "type": kind} for each in action["requests"]]
        self.post(f"approvals/{action['id']}/decide", {"decisions": decisions})


@pytest.fixture
def person(context: BrowserContext, server: EmbeddedServer) -> Iterator[Person]:
    """Somebody for whom nothing waits; what this test left is stopped afterwards."""
    somebody = Person(context, server)
    yield somebody
    for action in somebody.waiting():
        somebody.post(f"turns/{action['turn']}/cancel", {})


def opened(context: BrowserContext, url: str) -> Page:
    page = context.new_page()
    page.goto(url)
    return page


def card(page: Page, action: dict[str, Any]) -> Locator:
    return page.locator(f"#approval-{action['id']}")


def expect_count(page: Page, count: int) -> None:
    """Expect that the page says everywhere that so much waits."""
    badge = page.locator("#waiting")
    if count:
        expect(badge).to_have_text(f"{count} waiting for you", timeout=PATIENCE_MS)
        expect(page).to_have_title(re.compile(rf"^\({count}\) "), timeout=PATIENCE_MS)
    else:
        expect(badge).to_be_hidden(timeout=PATIENCE_MS)
        expect(page).to_have_title(re.compile(r"^[^(]"), timeout=PATIENCE_MS)


def mark(page: Page, session: str) -> Locator:
    """What the sidebar says of a chat besides its title."""
    return page.locator(f'li:has([data-session="{session}"]) .live')


# --- the inbox --------------------------------------------------------------------------------


def test_what_waits_is_decided_in_the_inbox_and_every_tab_is_in_step(
    context: BrowserContext, person: Person
) -> None:
    one, other = person.ask("First", "one"), person.ask("Second", "two")
    inbox = opened(context, f"{person.url}/approvals/")
    home = opened(context, person.url)
    chat = opened(context, f"{person.url}/c/{one['session']}/")
    for page in (inbox, home, chat):
        expect_count(page, 2)
    expect(mark(home, one["session"])).to_have_text("waiting for you")

    card(inbox, one).get_by_role("button", name="Approve", exact=True).click()
    expect(card(inbox, one)).to_contain_text("Approved by admin on the web")
    for page in (inbox, home, chat):
        expect_count(page, 1)
    expect(mark(home, one["session"])).to_have_count(0, timeout=PATIENCE_MS)
    expect(mark(home, other["session"])).to_have_text("waiting for you")
    expect(chat.locator("#transcript")).to_contain_text("Done.", timeout=PATIENCE_MS)

    card(inbox, other).get_by_role("button", name="Reject", exact=True).click()
    expect(inbox.locator("#nothing")).to_be_visible()
    for page in (inbox, home, chat):
        expect_count(page, 0)
    inbox.reload()
    expect(inbox.locator(".asked")).to_have_count(0)


def test_a_card_shows_what_was_decided_elsewhere(context: BrowserContext, person: Person) -> None:
    action = person.ask("First", "one", "two")
    inbox = opened(context, f"{person.url}/approvals/")
    expect(card(inbox, action).get_by_role("button", name="Approve all")).to_be_visible()
    person.decide(action, "approve")
    expect(card(inbox, action)).to_contain_text("Approved by admin", timeout=PATIENCE_MS)
    expect(card(inbox, action).get_by_role("button")).to_have_count(0)
    expect(inbox.locator("#nothing")).to_be_visible()


def test_what_is_asked_meanwhile_appears_in_its_place(context: BrowserContext, person: Person) -> None:
    inbox = opened(context, f"{person.url}/approvals/")
    expect(inbox.locator("#nothing")).to_be_visible()
    first = person.ask("First", "one")
    expect(card(inbox, first).get_by_role("button", name="Approve", exact=True)).to_be_visible(timeout=PATIENCE_MS)
    expect(inbox.locator("#nothing")).to_be_hidden()
    second = person.ask("Second", "two")
    expect(card(inbox, second)).to_be_visible(timeout=PATIENCE_MS)
    shown = inbox.locator(".asked").evaluate_all("(all) => all.map((each) => each.dataset.id)")
    assert shown == [first["id"], second["id"]], "the soonest end first"
    expect(card(inbox, second).get_by_role("link", name="Second")).to_have_attribute(
        "href", f"/c/{second['session']}/#approval-{second['id']}"
    )


def test_a_half_written_decision_stays_when_others_come_and_go(context: BrowserContext, person: Person) -> None:
    action = person.ask("First", "one")
    inbox = opened(context, f"{person.url}/approvals/")
    card(inbox, action).get_by_role("button", name="Respond…").click()
    box = card(inbox, action).get_by_role("textbox")
    box.fill("Half of a thou")
    other = person.ask("Second", "two")
    expect(card(inbox, other)).to_be_visible(timeout=PATIENCE_MS)
    person.decide(other, "reject")
    expect(card(inbox, other)).to_contain_text("Rejected by admin", timeout=PATIENCE_MS)
    expect(box).to_have_value("Half of a thou")
    expect(box).to_be_focused()


def test_what_is_deleted_leaves_the_inbox(context: BrowserContext, person: Person, complaints: Complaints) -> None:
    complaints.expect(re.compile("404"))  # it is asked for once more, to say what became of it
    action = person.ask("First", "one")
    inbox = opened(context, f"{person.url}/approvals/")
    expect(card(inbox, action).get_by_role("button", name="Approve", exact=True)).to_be_visible()
    person.delete(f"sessions/{action['session']}")
    expect(card(inbox, action)).to_have_count(0, timeout=PATIENCE_MS)
    expect(inbox.locator("#nothing")).to_be_visible()
    expect(inbox.locator(f'[data-session="{action["session"]}"]')).to_have_count(0)


def test_a_notification_leads_to_the_card(context: BrowserContext, person: Person) -> None:
    action = person.ask("First", "one")
    page = opened(context, f"{person.url}/approvals/{action['id']}/")
    expect(page.get_by_role("button", name="Approve", exact=True)).to_be_in_viewport()
    page.get_by_role("button", name="Approve", exact=True).click()
    expect(page.locator("#transcript")).to_contain_text("Done.", timeout=PATIENCE_MS)
    person.post(f"sessions/{action['session']}/messages", {"text": "/words 3000"})
    until("the next answer", lambda: person.get(f"sessions/{action['session']}").get("live") is None, 20)
    page = opened(context, f"{person.url}/approvals/{action['id']}/")
    decided = page.locator(f'[data-approval="{action["id"]}"]')
    expect(decided).to_be_in_viewport()
    expect(decided).to_contain_text("Approved by admin")


# --- every page -------------------------------------------------------------------------------


def test_what_happens_while_the_line_is_cut_is_made_up_for(
    context: BrowserContext, person: Person, line: Line, complaints: Complaints
) -> None:
    complaints.expect(UNREACHABLE)
    action = person.ask("First", "one")
    inbox = opened(context, f"{line.url}/approvals/")
    home = opened(context, line.url)
    expect_count(home, 1)
    line.cut()
    person.decide(action, "reject")
    renamed = person.ask("Second", "two")
    line.mend()
    expect(card(inbox, action)).to_contain_text("Rejected by admin", timeout=PATIENCE_MS)
    expect(card(inbox, renamed)).to_be_visible()
    expect(mark(home, action["session"])).to_have_count(0, timeout=PATIENCE_MS)
    expect(mark(home, renamed["session"])).to_have_text("waiting for you", timeout=PATIENCE_MS)
    expect_count(home, 1)


def test_the_sidebar_keeps_up_with_what_goes_on(context: BrowserContext, person: Person) -> None:
    home = opened(context, person.url)
    expect(home.locator("#sessions")).to_be_visible()
    session = person.chat("Brand new", "/sleep 60")
    expect(home.locator("#sessions a").first).to_have_text("Brand new", timeout=PATIENCE_MS)
    expect(mark(home, session)).to_have_text("running", timeout=PATIENCE_MS)
    person.post(f"sessions/{session}/cancel", {})
    expect(mark(home, session)).to_have_count(0, timeout=PATIENCE_MS)
    home.locator("#sessions a").first.click()
    expect(home.locator("#title")).to_have_text("Brand new")


def test_a_tab_keeps_its_name_beside_the_count(
    context: BrowserContext, person: Person, complaints: Complaints
) -> None:
    complaints.expect(re.compile("404"))  # the page that is not there
    action = person.ask("First", "one")
    chat = opened(context, f"{person.url}/c/{person.chat('', '/title (7) Rivers')}/")
    nowhere = opened(context, f"{person.url}/no-such-page/")
    expect(chat).to_have_title("(1) (7) Rivers · Holdfast", timeout=PATIENCE_MS)
    expect(nowhere).to_have_title("(1) Not here · Holdfast")
    person.decide(action, "reject")
    expect(chat).to_have_title("(7) Rivers · Holdfast", timeout=PATIENCE_MS)
    expect(nowhere).to_have_title("Not here · Holdfast", timeout=PATIENCE_MS)


# --- rules ------------------------------------------------------------------------------------


def test_what_is_remembered_is_listed_and_revoked(context: BrowserContext, person: Person) -> None:
    action = person.ask("First", "one")
    decision = {"tool_call_id": action["requests"][0]["tool_call_id"], "type": "approve"}
    person.post(f"approvals/{action['id']}/decide", {"decisions": [decision], "scope": "always"})
    page = opened(context, f"{person.url}/approvals/rules/")
    expect(page.locator(".entry")).to_contain_text("demo_note")
    page.get_by_role("button", name="Revoke demo_note").click()
    expect(page.locator(".empty")).to_contain_text("Nothing is remembered.")
    page.get_by_role("link", name="Log", exact=True).click()
    expect(page.locator(".entry").first).to_contain_text("rule revoked")


# --- a phone ----------------------------------------------------------------------------------


def test_a_chat_on_a_phone_says_how_much_waits(
    context: BrowserContext, phone: BrowserContext, person: Person
) -> None:
    action = person.ask("First", "one")
    page = opened(phone, f"{person.url}/c/{person.chat('Other', '/words 3')}/")
    count = page.get_by_role("link", name="All chats").locator(".count")
    expect(count).to_have_text("1")
    person.decide(action, "reject")
    expect(count).to_be_hidden(timeout=PATIENCE_MS)
