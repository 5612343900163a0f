"""What a person does with the page of a chat, and what they see on it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext, ConsoleMessage, Page, expect

#: The longest wait for anything on the page, in milliseconds. Two shared cores can be slow.
PATIENCE_MS = 20_000

#: Runs in every page before its own scripts: notes what the page may not do, and every state of the newest answer
#: that reached the screen.
PROBE = """
addEventListener("securitypolicyviolation", (event) => {
  console.error(`refused by the policy: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`);
});
window.paints = [];
const look = () => {
  const answers = document.querySelectorAll("#transcript > article.assistant");
  const texts = answers[answers.length - 1]?.querySelectorAll(".markdown") ?? [];
  const shown = [...texts].map((text) => text.innerText).join("\\n");
  if (window.paints.at(-1) !== shown) window.paints.push(shown);
  requestAnimationFrame(look);
};
requestAnimationFrame(look);
"""

#: Every message as the person may read it (with all that can be unfolded), and what it is made of.
_TRANSCRIPT = """
([open]) => [...document.querySelectorAll("#transcript > article")].map((article) => {
  if (open) article.querySelectorAll("details").forEach((details) => (details.open = true));
  const tags = [...article.querySelectorAll("*")].map((found) => [found.tagName, ...found.classList].join("."));
  return { who: article.classList[1], text: article.innerText.replace(/\\s+/g, " ").trim(), tags };
})
"""

_SETTLED = """
(count) => {
  const answers = [...document.querySelectorAll("#transcript > article.assistant")];
  const isLive = document.querySelector("#transcript [data-live], #transcript [data-pending]");
  return answers.length === count && !isLive && answers.every((answer) => answer.dataset.seq)
    && document.getElementById("stop").hidden && document.getElementById("working").hidden;
}
"""

_OVER = """
(count) => document.querySelectorAll("#transcript > article.assistant").length === count
  && document.getElementById("stop").hidden && document.getElementById("working").hidden
"""

#: What reaches over the edge of the screen and is not inside something that scrolls by itself. (A phone would show
#: such a page smaller, so the width of the window tells nothing.)
_TOO_WIDE = """
() => [...document.body.querySelectorAll("*")].filter((element) =>
  element.getBoundingClientRect().right > screen.width + 1
  && !element.parentElement.closest(".table, pre, .visually-hidden")
).map((element) => `${element.tagName}.${element.className}`)
"""
_IS_ON_TOP = """
(element) => {
  const { left, top, width, height } = element.getBoundingClientRect();
  return element.contains(document.elementFromPoint(left + width / 2, top + height / 2));
}
"""

#: Console lines of a browser whose server cannot be reached.
UNREACHABLE = re.compile(r"WebSocket connection to .* failed|net::ERR_|Failed to load resource")


def words(first: int, last: int) -> str:
    """Return what the demo model says to ``/words``."""
    return " ".join(f"w{n}" for n in range(first, last + 1))


class Complaints:
    """What the browser complains about: errors on the console, uncaught errors, refusals by the policy."""

    def __init__(self, context: BrowserContext) -> None:
        self.found: list[str] = []
        self._expected: list[re.Pattern[str]] = []
        context.on("console", self._on_console)
        context.on("weberror", lambda error: self.found.append(f"uncaught: {error.error}"))

    def expect(self, pattern: re.Pattern[str]) -> None:
        """Lines like this are what the test is about."""
        self._expected.append(pattern)

    @property
    def unexpected(self) -> list[str]:
        return [line for line in self.found if not any(pattern.search(line) for pattern in self._expected)]

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.found.append(f"{message.type}: {message.text}")


class ChatPage:
    """The page of one session, in one tab."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.answers = page.locator("#transcript > article.assistant")
        self.questions = page.locator("#transcript > article.user")
        self.stop = page.locator("#stop")
        self.queued = page.locator("#queue .queued")
        self.connection = page.locator("#connection")

    @property
    def url(self) -> str:
        return self.page.url

    def stored(self) -> dict[str, Any]:
        """Return the session as the server has it, whatever this page knows."""
        parts = urlsplit(self.page.url)
        address = f"{parts.scheme}://{parts.netloc}/api/v1/sessions/{parts.path.split('/')[2]}"
        answer = self.page.context.request.get(address)
        assert answer.ok, answer.text()
        found: dict[str, Any] = answer.json()
        return found

    def send(self, text: str) -> None:
        """Type a message and press Enter."""
        self.page.fill("#text", text)
        self.page.press("#text", "Enter")

    def until(self, condition: str, argument: Any = None) -> None:
        """Wait until a JavaScript function of ``argument`` returns something true."""
        self.page.wait_for_function(condition, arg=argument, timeout=PATIENCE_MS)

    def until_shown(self, text: str) -> None:
        """Wait until the newest answer holds ``text``."""
        expect(self.answers.last).to_contain_text(text, timeout=PATIENCE_MS)

    def until_settled(self, answers: int) -> None:
        """Wait until nothing runs and so many answers are there, as the server draws them."""
        self.until(_SETTLED, answers)

    def until_over(self, answers: int) -> None:
        """Wait until nothing runs and so many answers are there, drawn by whomever."""
        self.until(_OVER, answers)

    def reload(self) -> None:
        """Load the page again."""
        self.page.reload()

    def second_tab(self) -> ChatPage:
        """Open the same session in another tab of the same browser."""
        other = self.page.context.new_page()
        other.goto(self.page.url)
        return ChatPage(other)

    def transcript(self, *, unfold: bool = True) -> list[dict[str, Any]]:
        """Return every message on the page: ``who``, ``text`` and ``tags``."""
        found: list[dict[str, Any]] = self.page.evaluate(_TRANSCRIPT, [unfold])
        return found

    def texts(self) -> list[tuple[str, str]]:
        """Return every message on the page: who wrote it, and its text in one line."""
        return [(message["who"], message["text"]) for message in self.transcript()]

    def answer(self) -> str:
        """Return the text of the newest answer, in one line, without what stands around it."""
        parts = self.answers.last.locator(".markdown").all_inner_texts()
        return " ".join(" ".join(parts).split())

    def paints(self) -> list[str]:
        """Return every state of the newest answer that this page has shown since it was loaded, in order."""
        found: list[str] = self.page.evaluate("window.paints")
        return [" ".join(text.split()) for text in found]


def assert_paints(page: ChatPage, whole: str, *, shrinks: Callable[[str, str], bool] | None = None) -> None:
    """Assert that at every paint the page showed the beginning of ``whole``: nothing lost, doubled or misplaced.

    Args:
        shrinks: whether the page may have gone from one text to a shorter one; never, when not given.
    """
    before = ""
    for shown in page.paints():
        assert whole.startswith(shown), f"this was on the page: {shown[-200:]!r}"
        assert len(shown) >= len(before) or (shrinks and shrinks(before, shown)), f"{shown[-80:]!r} came back"
        before = shown


def without_settling(context: BrowserContext, complaints: Complaints) -> None:
    """Keep the server's rendering from pages, so that they show what they drew themselves."""
    complaints.expect(UNREACHABLE)
    context.route("**/messages/?*", lambda route: route.abort())


def assert_same_after_reload(chat: ChatPage) -> None:
    """Assert that what the page drew is what the server draws."""
    assert chat.page.locator("[data-live]").count(), "this is the server's rendering already"
    drawn = chat.transcript()
    chat.reload()
    assert chat.page.locator("[data-live]").count() == 0
    assert drawn == chat.transcript()


def assert_fits(page: Page, *controls: str) -> None:
    """Assert that nothing is wider than the screen and that the controls are in sight, none above another."""
    assert page.evaluate(_TOO_WIDE) == []
    for control in controls:
        expect(page.locator(control)).to_be_in_viewport(ratio=1)
        assert page.locator(control).evaluate(_IS_ON_TOP), f"{control} is covered"
