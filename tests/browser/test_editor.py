"""The card by itself, in a real browser: its editor offers to submit exactly what the server accepts."""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from approvals.decisions import check_arguments
from common.errors import AppError
from tests.process.servers import EmbeddedServer

pytestmark = pytest.mark.browser

HIDDEN = "⟦hidden:0a1b2c3d⟧"
TEXT: dict[str, Any] = {"type": "string"}
PLACE = {"type": "object", "properties": {"city": TEXT}, "required": ["city"], "additionalProperties": False}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 2, "maxLength": 4, "pattern": "^[a-z]"},
        "mode": {"enum": ["fast", "slow", 3]},
        "count": {"type": "integer", "minimum": 1, "maximum": 5},
        "ratio": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
        "force": {"type": "boolean"},
        "tags": {"type": "array", "items": TEXT, "minItems": 1, "maxItems": 2},
        "place": PLACE,
        "loose": {"type": ["string", "null"]},
        "same": {"const": 1},
    },
    "required": ["name"],
    "additionalProperties": False,
}
#: Edited arguments. Which are accepted is for the server to say; whether a hidden value fits only it knows.
EDITED: list[Any] = [
    *({"name": name} for name in ("ab", "a", "abcde", "", "Ab", 5, None, [], "😀b", "a😀😀😀", "a\x00b", HIDDEN)),
    *({"name": name} for name in (f"{HIDDEN}d", HIDDEN[:-1], "⟦hidden:00000000⟧")),
    *({"name": "ab", "mode": mode} for mode in ("fast", "Fast", 3, 3.0, "3", None)),
    *({"name": "ab", "count": count} for count in (1, 5, 0, 6, 2.0, 2.5, "2", True, None)),
    *({"name": "ab", "ratio": ratio} for ratio in (0.5, 0, 1, 0.999, "0.5")),
    *({"name": "ab", "force": force} for force in (True, False, 0, "true")),
    *({"name": "ab", "tags": tags} for tags in (["x"], [], ["x", "y", "z"], [1], "x")),
    *({"name": "ab", "place": at} for at in ({"city": "Ulm"}, {}, {"city": "Ulm", "zip": 1}, {"city": 1}, [])),
    *({"name": "ab", "loose": loose} for loose in ("x", None, 1)),
    *({"name": "ab", "same": same} for same in (1, 1.0, True, 2)),
    *({}, [], None, "ab", {"name": "ab", "more": 1}),
]
_ACCEPTED = """
async ([cases, request]) => {
  const { problemsOfArguments } = await import("/static/approvals/rules.js");
  const { parseExact } = await import("/static/approvals/json.js");
  return cases.map((text) => problemsOfArguments(parseExact(text), request).length === 0);
}
"""
_SHOW = """
async (approval) => {
  const { approvalCard } = await import("/static/approvals/card.js");
  const { parseExact } = await import("/static/approvals/json.js");
  window.sent = [];
  const decide = (body) => new Promise(() => window.sent.push(JSON.stringify(body)));
  document.body.replaceChildren(approvalCard(parseExact(approval), { decide }).root);
}
"""


@pytest.fixture
def page(context: BrowserContext, server: EmbeddedServer) -> Page:
    """A page of the server, to show a card on."""
    opened = context.new_page()
    opened.goto(server.url)
    return opened


def show(
    page: Page,
    arguments: str,
    schema: dict[str, Any],
    *,
    allowed: tuple[str, ...] = ("approve", "edit", "reject", "respond"),
    scopes: tuple[str, ...] = ("once", "session", "always"),
) -> None:
    """Show the card of one call; what it would send is kept."""
    request = {"tool_call_id": "1", "name": "tool", "arguments": "ARGUMENTS", "schema": schema}
    approval = {"id": "2", "kind": "tool_approval", "status": "pending", "scopes": scopes}
    approval |= {"requests": [{**request, "allowed_decisions": allowed}], "expires_at": "2999-01-01T00:00:00Z"}
    page.evaluate(_SHOW, json.dumps(approval).replace('"ARGUMENTS"', arguments))


def accepts(schema: dict[str, Any], arguments: Any) -> bool:
    """Whether the server takes these arguments for those in which ``HIDDEN`` was shown."""
    try:
        check_arguments(arguments, schema, {HIDDEN: "abc"})
    except AppError:
        return False
    return True


def test_the_browser_accepts_what_the_server_accepts(page: Page) -> None:
    cases = [*EDITED, {"name": "ab", "loose": "x" * 65_510}, {"name": "ab", "loose": "x" * 65_507}]
    wanted = [accepts(SCHEMA, case) for case in cases]
    assert 10 < sum(wanted) < len(cases) - 10
    request = {"arguments": {"name": HIDDEN}, "schema": SCHEMA}
    found = page.evaluate(_ACCEPTED, [[json.dumps(case) for case in cases], request])
    wrong = [(case, should) for case, should, does in zip(cases, wanted, found, strict=True) if should != does]
    assert wrong == []


def test_numbers_that_javascript_would_change_are_sent_as_they_came(page: Page) -> None:
    show(page, '{"text": "hello", "big": 1180591620717411303424, "whole": 1.0, "list": [1.50, 2e3]}', {})
    page.get_by_role("button", name="Edit…").click()
    page.get_by_label("text").fill('"changed"')
    page.get_by_role("button", name="Run with changes").click()
    [body] = page.evaluate("window.sent")
    assert '"big":1180591620717411303424,"whole":1.0,"list":[1.50,2e3]' in body


def test_a_character_that_is_not_seen_is_shown_by_its_number(page: Page) -> None:
    """It would have a command read otherwise than it runs."""
    show(page, json.dumps({"command": "echo \u202egpj.exe\u200b", "pa\u2066th": "\u0645\u200c\u0646"}), {})
    expect(page.locator(".ask-arguments dd").first).to_have_text("echo U+202Egpj.exeU+200B")
    expect(page.locator(".ask-arguments dt").nth(1)).to_have_text("paU+2066th")
    expect(page.locator(".ask-arguments dd").nth(1)).to_have_text("\u0645\u200c\u0646")


def test_an_argument_may_be_called_like_what_every_object_has(page: Page) -> None:
    schema = {"type": "object", "properties": {"constructor": TEXT, "valueOf": TEXT, "text": TEXT}}
    show(page, '{"text": "a", "__proto__": "b", "toString": "c"}', schema)
    page.get_by_role("button", name="Edit…").click()
    page.get_by_label("valueOf").fill("d")
    page.get_by_role("button", name="Run with changes").click()
    [body] = page.evaluate("sent")
    assert json.loads(body)["decisions"][0]["arguments"] == {
        "text": "a",
        "__proto__": "b",
        "toString": "c",
        "valueOf": "d",
    }


def test_each_kind_of_argument_has_a_field_of_its_kind(page: Page) -> None:
    given = '{"name": "ab", "mode": "slow", "count": 2, "force": true, "tags": ["x"], "place": {"city": "Ulm"}}'
    show(page, given, SCHEMA)
    page.get_by_role("button", name="Edit…").click()
    run = page.get_by_role("button", name="Run with changes")
    expect(run).to_be_enabled()
    page.get_by_label("name").fill("x")
    expect(run).to_be_disabled()
    expect(page.locator(".field-problem:visible")).to_have_text("At least 2 characters.")
    page.get_by_label("name").fill("xyz")
    page.get_by_label("mode").select_option("fast")
    page.get_by_label("count").fill("many")
    expect(page.locator(".field-problem:visible")).to_have_text("Must be a number.")
    page.get_by_label("count").fill("3")
    page.get_by_label("force").uncheck()
    page.get_by_role("button", name="Add to tags").click()
    page.get_by_label("tags, entry 2").fill("y")
    page.get_by_label("city").fill("Bern")
    run.click()
    wanted = '{"name":"xyz","mode":"fast","count":3,"force":false,"tags":["x","y"],"place":{"city":"Bern"}}'
    assert f'"arguments":{wanted}' in page.evaluate("window.sent")[0]


def test_what_is_changed_in_one_view_is_there_in_the_other(page: Page) -> None:
    show(page, '{"name": "ab"}', SCHEMA)
    page.get_by_role("button", name="Edit…").click()
    page.get_by_label("count").fill("4")
    page.get_by_role("button", name="JSON").click()
    box = page.get_by_label("Arguments as JSON")
    expect(box).to_have_value('{\n  "name": "ab",\n  "count": 4\n}')
    box.fill('{"name": "cd", "force": true}')
    page.get_by_role("button", name="Form").click()
    expect(page.get_by_label("name")).to_have_value("cd")
    expect(page.get_by_label("count")).to_have_value("")
    expect(page.get_by_label("force")).to_be_checked()


def test_only_allowed_decisions_and_offered_scopes_are_there(page: Page) -> None:
    show(page, '{"name": "ab"}', SCHEMA, allowed=("approve", "reject"), scopes=("once",))
    expect(page.get_by_role("button")).to_have_text(["Approve", "Reject", "Reject with a reason…"])
    expect(page.get_by_label("Allow")).to_be_hidden()
    page.get_by_role("button", name="Reject", exact=True).click()
    [body] = page.evaluate("window.sent")
    assert body == '{"decisions":[{"tool_call_id":"1","type":"reject"}]}'


def test_two_clicks_send_one_decision(page: Page) -> None:
    show(page, '{"name": "ab"}', SCHEMA)
    page.get_by_role("button", name="Approve").evaluate("(button) => { button.click(); button.click(); }")
    assert len(page.evaluate("window.sent")) == 1
    expect(page.get_by_role("button", name="Reject", exact=True)).to_be_disabled()
