"""The readable text of an HTML page: no scripts, no styles, nothing hidden; links are kept."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urljoin

#: Seconds of processor time for one page, and characters of one tag, comment or script: what is not over by then
#: is left out.
SECONDS_MAX = 4.0
PIECE_MAX = 2_000_000
_FED_AT_ONCE = 65_536

_VOID = frozenset(
    ("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr")
)
_UNREAD = frozenset(
    (
        *(
            "script",
            "style",
            "noscript",
            "template",
            "svg",
            "math",
            "iframe",
            "object",
            "canvas",
            "audio",
            "video",
        ),
        *("select", "datalist", "textarea", "dialog"),
    )
)
_BLOCKS = frozenset(
    (
        *("address", "article", "aside", "blockquote", "caption", "dd", "details", "div", "dl", "dt", "fieldset"),
        *("figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li"),
        *("main", "nav", "ol", "p", "pre", "section", "summary", "table", "tr", "ul"),
    )
)
#: A tag that ends an open one of the first kind beneath it without saying so.
_ENDS = {"li": ("li",), "dt": ("dt", "dd"), "dd": ("dt", "dd"), "tr": ("td", "th", "tr"), "td": ("td", "th")}
_SPACES = re.compile(r"\s+")
_HIDING = re.compile(r"(?:^|;)\s*(?:display\s*:\s*none|visibility\s*:\s*hidden)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Readable:
    """A page's title, which may be empty, and its text; ``whole`` unless it took too long to read on."""

    title: str
    text: str
    whole: bool = True


def readable(html: str, url: str) -> Readable:
    """Return what a person would read on a page, in something like Markdown.

    Never raises: of a page that is broken or takes too long, what was read until then is returned. Blocks for some
    seconds at most; call it in a thread.

    Args:
        url: of the page; links become absolute by it.
    """
    page = _Page(url)
    until = time.thread_time() + SECONDS_MAX
    whole = True
    for start in range(0, len(html), _FED_AT_ONCE):
        page.feed(html[start : start + _FED_AT_ONCE])
        # Never closed: what is still open at the end of a page would be looked through once for each of its tags.
        if len(page.rawdata) > PIECE_MAX or time.thread_time() > until:
            whole = start + _FED_AT_ONCE >= len(html)
            break
    return Readable(" ".join("".join(page.title).split()), page.text(), whole)


@dataclass(slots=True)
class _Link:
    target: str
    words: list[str] = field(default_factory=list)


class _Page(HTMLParser):
    def __init__(self, url: str) -> None:
        super().__init__(convert_charrefs=True)
        self.title: list[str] = []
        self._url = url
        self._pieces: list[str] = []
        #: Open tags, each with whether it hides what is in it.
        self._open: list[tuple[str, bool]] = []
        self._hidden = 0
        self._pre = 0
        self._link: _Link | None = None

    # --- what the parser calls ----------------------------------------------------------------

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "base" and given.get("href"):
            self._url = _absolute(self._url, given["href"] or "")
        self._end_implied(tag)
        if tag in _VOID:
            self._void(tag, given)
            return
        style = given.get("style")
        hides = tag in _UNREAD or "hidden" in given or bool(style and _HIDING.search(style))
        self._open.append((tag, hides))
        self._hidden += hides
        if self._hidden:
            return
        if tag == "a":
            self._end_link()
            self._link = _Link(_absolute(self._url, given.get("href") or ""))
        elif tag in _BLOCKS:
            self._begin_block(tag)
        elif tag in ("td", "th"):
            self._say("| " if self._at_line_start else " | ")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)  # "<div/>" only begins a div

    def handle_endtag(self, tag: str) -> None:
        if not any(name == tag for name, _ in reversed(self._open[-100:])):
            return
        while self._pop() != tag:
            continue

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1][0] == "title" and not self._hidden:
            self.title.append(data)
        elif not self._hidden:
            self._say(data if self._pre else self._flowing(data))

    # --- what becomes of it --------------------------------------------------------------------

    def _end_implied(self, tag: str) -> None:
        ends = (*_ENDS.get("td" if tag == "th" else tag, ()), *(("p",) if tag in _BLOCKS else ()))
        if ends and self._open and self._open[-1][0] in ends:
            self._pop()
            if tag == "tr" and self._open and self._open[-1][0] == "tr":
                self._pop()

    def _pop(self) -> str:
        tag, hid = self._open.pop()
        if not self._hidden:
            if tag == "a":
                self._end_link()
            elif tag == "pre":
                self._pre -= 1
                self._say("\n```\n\n")
            elif tag in _BLOCKS:
                self._new_line()
        self._hidden -= hid
        return tag

    def _begin_block(self, tag: str) -> None:
        if tag == "pre":
            self._pre += 1
            self._say("\n\n```\n")
        elif tag == "tr":
            self._new_line()
        elif tag in ("li", "dt"):
            self._new_line()
            self._say("- ")
        elif tag[0] == "h" and tag[1:].isdigit():
            self._say(f"\n\n{'#' * int(tag[1:])} ")
        else:
            self._say("\n\n")

    def _void(self, tag: str, given: dict[str, str | None]) -> None:
        if self._hidden:
            return
        if tag == "br":
            self._say("\n")
        elif tag == "hr":
            self._say("\n\n---\n\n")
        elif tag == "img" and (given.get("alt") or "").strip():
            self._say(f"[image: {' '.join((given['alt'] or '').split())}]")

    def _flowing(self, data: str) -> str:
        text = _SPACES.sub(" ", data)
        return text.lstrip() if self._at_line_start else text

    @property
    def _at_line_start(self) -> bool:
        if self._link and self._link.words:
            return self._link.words[-1].endswith("\n")
        return not self._link and (not self._pieces or self._pieces[-1].endswith("\n"))

    def _new_line(self) -> None:
        if not self._at_line_start:
            self._say("\n")

    def _say(self, text: str) -> None:
        if text:
            (self._link.words if self._link else self._pieces).append(text)

    def _end_link(self) -> None:
        link, self._link = self._link, None
        if link is None:
            return
        words = "".join(link.words)
        shown = words.strip()
        if not shown or not link.target:
            self._say(words)
        elif "\n" in shown:  # a whole card is the link
            self._say(f"{words} ({link.target}) ")
        else:
            before, after = (" " if words[:1].isspace() else ""), (" " if words[-1:].isspace() else "")
            self._say(f"{before}[{shown}]({link.target}){after}")

    def text(self) -> str:
        """Return the text so far, without the gaps that tags leave."""
        self._end_link()
        text = "".join(self._pieces)
        text = "\n".join(line.rstrip() for line in text.split("\n"))
        return re.sub(r"\n{3,}", "\n\n", text).strip()


def _absolute(base: str, target: str) -> str:
    """Return where a link leads; nothing for those that lead nowhere one could read."""
    target = target.strip()
    if not target or target.startswith("#"):
        return ""
    try:
        joined = urljoin(base, target)
    except ValueError:
        return ""
    return joined if joined.startswith(("http://", "https://", "mailto:")) else ""
