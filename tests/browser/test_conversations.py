"""Talking: stopping, sending while it answers, and a live view that shows what a fresh page shows."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress

import pytest
from playwright.sync_api import BrowserContext, expect

from tests.browser.model import PAUSE, Parrot
from tests.browser.pages import (
    PATIENCE_MS,
    ChatPage,
    Complaints,
    assert_fits,
    assert_paints,
    assert_same_after_reload,
    without_settling,
    words,
)
from tests.process.servers import EmbeddedServer, until

pytestmark = pytest.mark.browser
NewChat = Callable[..., ChatPage]

DOCUMENT = f"""\
# A heading

A paragraph with **strong**, *soft*, `code` and a [link](https://example.com/),
over two lines alpha{PAUSE}.

- one
- two with `code` beta{PAUSE}
    - nested

1. first
2. second

```python
def answer(question: str) -> int:
    gamma{PAUSE} = "a string"  # a comment

    return 42
```

| Name | Value |
|:-----|------:|
| a    | delta{PAUSE} |
| b    | 2 |

> Quoted *text* epsilon{PAUSE}

```
an unnamed block with *no* markup
```

Setext
------

The end, with &lt;entities&gt; and 2 * 3 * 4 = 24 zeta{PAUSE} 🎉👩‍👩‍👧 done.
"""
MARKS = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta"]
HOSTILE = (
    "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'>"
    '<a href="javascript:window.hacked = 3">x</a> [y](javascript:window.hacked=4) ![z](https://example.com/z.png) '
    "<svg onload='window.hacked = 5'><style>body{display:none}</style>"
)
WIDE = f"""{"y" * 300} `{"c" * 200}` https://example.com/{"u" * 200}

```python
print("{"x" * 200}")
```

| {" | ".join("abcdefghijklmnop")} |
{"|---" * 16}|
| {" | ".join(["cell"] * 16)} |
"""
TAG = "<img/src=x/onerror=window.hacked=6>"
#: Everything a turn can be made of and end with.
TURNS = [
    "/words 5",
    '/think Let me see.\n/tool calculator {"expression": "6 * 7"}\n/tool demo_boom {}\n/words 3\n/step\n/words 2',
    '/tool current_time {}\n/tool nothing_like_it {"a": "<b>"}\n/results',
    '/tool calculator {"expression": "1 +"}\n/tool calculator {"expression": "2 ** 70"}',
    '/tool demo_wait {"seconds": 0}',
    '/tool nothing_like_it {"b": [1.50, [], {}, null, true], "a\\u00e4\\"": {"10": 1e3, "9": "x\\ny"}, "": -0.0}',
    "/faillate quota",
    "/faillate overloaded 1\n/words 4",
    "/fail auth",
    "/think Only that.",
]


def test_a_stopped_answer_keeps_its_beginning_and_the_next_message_works(new_chat: NewChat) -> None:
    chat = new_chat()
    chat.send("/words 500 20")
    chat.until_shown("w30 ")
    chat.stop.click()
    expect(chat.answers.last.locator(".turn-stopped")).to_have_text("Stopped.", timeout=PATIENCE_MS)
    chat.until_settled(1)
    kept = chat.answer()
    assert words(1, 500).startswith(kept)
    assert kept.startswith(words(1, 30))
    assert_paints(chat, words(1, 500))
    answer = chat.stored()["messages"][-1]
    assert answer["state"] == "partial"
    assert "".join(part.get("text", "") for part in answer["parts"]) == kept

    chat.send("/words 3")
    chat.until_settled(2)
    assert chat.answer() == words(1, 3)
    shown = chat.texts()
    chat.reload()
    assert chat.texts() == shown


def test_an_answer_stopped_before_its_first_word_says_so_in_every_tab(new_chat: NewChat) -> None:
    chat = new_chat()
    other = chat.second_tab()
    chat.send("/sleep 60")
    expect(other.stop).to_be_visible()
    chat.stop.click()
    for tab in (chat, other):
        expect(tab.questions.last.locator(".turn-stopped")).to_have_text("Stopped.", timeout=PATIENCE_MS)
        tab.until_settled(0)
    assert chat.texts() == other.texts()
    chat.reload()
    assert chat.texts() == other.texts()
    chat.send("/words 3")
    chat.until_settled(1)
    assert chat.answer() == words(1, 3)


def test_messages_sent_while_it_answers_wait_and_are_delivered_in_order_once(new_chat: NewChat) -> None:
    chat = new_chat()
    chat.send("/words 80 20")
    chat.until_shown("w10 ")
    for text in ("/words 3", "not this one", "/words 4"):
        chat.send(text)
    expect(chat.queued.get_by_role("button")).to_have_text(["Withdraw"] * 3)
    expect(chat.queued.locator(".what")).to_have_text(["/words 3", "not this one", "/words 4"])
    chat.queued.nth(1).get_by_role("button", name="Withdraw").click()
    expect(chat.queued).to_have_count(2)
    expect(chat.page.locator("#text")).to_have_value("not this one")
    assert chat.questions.count() == 1

    chat.until_settled(2)
    expect(chat.queued).to_have_count(0)
    assert [who for who, _ in chat.texts()] == ["user", "assistant", "user", "user", "assistant"]
    assert chat.questions.locator(".said").all_inner_texts() == ["/words 80 20", "/words 3", "/words 4"]
    assert chat.answers.first.locator(".markdown").inner_text() == words(1, 80)
    assert chat.answer() == f"{words(1, 3)} {words(1, 4)}"
    shown = chat.texts()
    chat.reload()
    assert chat.texts() == shown


def test_what_waited_for_a_stopped_answer_is_held_until_it_is_sent(new_chat: NewChat) -> None:
    chat = new_chat()
    chat.send("/words 500 20")
    chat.until_shown("w10 ")
    chat.send("/words 3")
    expect(chat.queued.get_by_role("button")).to_have_text(["Withdraw"])
    chat.stop.click()
    chat.until_settled(1)
    expect(chat.queued.locator(".why")).to_have_text("held back")
    chat.reload()
    chat.page.get_by_role("button", name="Send now").click()
    chat.until_settled(2)
    assert chat.answer() == words(1, 3)
    expect(chat.queued).to_have_count(0)
    assert chat.questions.count() == 2


def assert_alike(one: ChatPage, other: ChatPage) -> None:
    """Assert that both tabs show the same as soon as both have all there is."""
    with suppress(AssertionError):
        until("same view in both tabs", lambda: one.transcript() == other.transcript(), 5)
    assert one.transcript() == other.transcript()


def test_the_live_view_of_every_kind_of_turn_is_that_of_a_fresh_page(
    new_chat: NewChat, context: BrowserContext, complaints: Complaints
) -> None:
    without_settling(context, complaints)
    chat = new_chat()
    chat.send("/think Well.\n/words 500 20")
    chat.until_shown("w5 ")
    chat.stop.click()
    chat.until_over(1)
    chat.send("/sleep 60")
    chat.stop.click()
    chat.until_over(1)
    for number, text in enumerate(TURNS, 2):
        chat.send(text)
        chat.until_over(number)
    assert_same_after_reload(chat)


def test_a_document_looks_alike_live_and_in_a_fresh_tab_at_every_moment(
    new_chat: NewChat, parrot: Parrot, context: BrowserContext, complaints: Complaints
) -> None:
    without_settling(context, complaints)
    parrot.will_say(DOCUMENT)
    chat = new_chat(model="parrot/parrot")
    chat.send("Write me a document.")
    chat.until_shown(MARKS[0])
    other = chat.second_tab()
    for mark in MARKS:
        chat.until_shown(mark)
        other.reload()
        other.until_shown(mark)
        assert_alike(chat, other)
        parrot.go_on()
    chat.until_over(1)
    assert chat.answers.last.locator("pre, table, li, blockquote, h1, h2, strong").count() > 10
    assert_same_after_reload(chat)


def test_an_answer_that_was_cut_says_so_live_and_after_a_reload(new_chat: NewChat, parrot: Parrot) -> None:
    parrot.will_say("Once upon a", "length")
    chat = new_chat(model="parrot/parrot")
    chat.send("Tell me a story.")
    chat.until_over(1)
    line = chat.answers.last.locator(".turn-stopped")
    expect(line).to_have_text("Cut here: the answer reached the limit of its length.")
    chat.page.reload()
    expect(line).to_have_text("Cut here: the answer reached the limit of its length.")


def test_a_refusal_says_so_once(new_chat: NewChat, parrot: Parrot) -> None:
    parrot.will_say("", "content_filter")
    chat = new_chat(model="parrot/parrot")
    chat.send("Tell me a secret.")
    chat.until_over(1)
    for _ in range(2):
        expect(chat.answers.last).to_contain_text("The model declined to answer this.")
        expect(chat.answers.last.locator(".turn-stopped")).to_have_count(0)
        chat.page.reload()


def test_a_document_that_is_stopped_in_the_middle_of_a_block_looks_alike_after_a_reload(
    new_chat: NewChat, parrot: Parrot, context: BrowserContext, complaints: Complaints
) -> None:
    without_settling(context, complaints)
    chat = new_chat(model="parrot/parrot")
    beginnings = ["Some **strong", "```python\ndef answer():\n    ret", "- one\n- tw", "| a | b |\n|---|---|\n| 1"]
    for number, beginning in enumerate(beginnings, 1):
        parrot.will_say(f"Here: stop{number}\n\n{beginning}{PAUSE}")
        chat.send("Write something.")
        expect(chat.answers).to_have_count(number)
        chat.until_shown(beginning[-3:])
        chat.stop.click()
        chat.until_over(number)
    assert_same_after_reload(chat)


def test_scripts_in_messages_answers_tools_and_titles_are_only_text(
    new_chat: NewChat, parrot: Parrot, context: BrowserContext
) -> None:
    context.on("dialog", lambda dialog: pytest.fail(f"a dialog came up: {dialog.message}"))
    parrot.will_say(f"{HOSTILE}\n\n```html\n{HOSTILE}\n```\n\n> {HOSTILE}\n")
    chat = new_chat(model="parrot/parrot", title=f"</title>{TAG}")
    chat.send(HOSTILE)
    chat.until_settled(1)
    assert_inert(chat)
    demo = new_chat()
    demo.send(f"/think {HOSTILE}\n/tool demo_once {json.dumps({'text': HOSTILE})}\n/tool {TAG} {{}}\n/results")
    demo.until_settled(1)
    assert_inert(demo)
    for page in (chat, demo):
        page.reload()
        assert_inert(page)


def assert_inert(chat: ChatPage) -> None:
    """Assert that nothing of ``HOSTILE`` became more than text or a harmless link."""
    inside = (
        "#transcript :is(script, img, style, iframe), #transcript svg:not(.foot-button > svg), "
        "[onerror], [onload], a[href^='javascript:' i]"
    )
    assert chat.page.locator(inside).count() == 0
    assert chat.page.evaluate("window.hacked") is None
    assert "<script>" in chat.questions.first.inner_text()


def test_everything_fits_a_phone(
    phone: BrowserContext, new_chat: NewChat, parrot: Parrot, server: EmbeddedServer
) -> None:
    parrot.will_say(WIDE + PAUSE)
    address = new_chat(model="parrot/parrot", title="t" * 150).url
    page = phone.new_page()
    page.goto(server.url)
    assert_fits(page, "#start .send")
    page.goto(address)
    chat = ChatPage(page)
    chat.send("u" * 300)
    chat.until_shown("cell")
    for _ in range(3):
        chat.send("q" * 100)
    expect(chat.queued.get_by_role("button")).to_have_text(["Withdraw"] * 3)
    assert_fits(page, "#send", "#stop", "#text", "a.back", "#queue button >> nth=2")
    parrot.go_on(9)
    chat.until_settled(2)
    assert_fits(page, "#send", "#text", "a.back")
    page.locator("a.back").tap()
    page.wait_for_url(server.url + "/")
