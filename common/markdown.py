"""The one place where text of people and models becomes HTML that a page may trust.

Markdown is parsed with raw HTML switched off, fenced code is coloured with CSS classes on the server, and the
result passes an allow-list. ``mark_safe`` is used here and nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import nh3
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name
from pygments.token import STANDARD_TYPES
from pygments.util import ClassNotFound

#: Longer code is shown without colours: some lexers are slower than linear.
HIGHLIGHT_MAX_CHARACTERS = 20_000
#: Up to this many characters an unfinished tail is looked at with every new line.
EAGER_TAIL = 4096

_NEWLINE = re.compile(r"\r\n?|\n")
_LANGUAGE = re.compile(r"[\w+#.-]{1,40}")
_ALIGNMENT = {"text-align:left": "left", "text-align:center": "center", "text-align:right": "right"}
_IN_LINK = "in_link"
_FORMATTER: HtmlFormatter[str] = HtmlFormatter(nowrap=True)


@lru_cache(maxsize=128)
def _lexer(language: str) -> Lexer | None:
    try:
        return get_lexer_by_name(language, stripnl=False)
    except ClassNotFound:
        return None


def _code_block(code: str, language: str) -> str:
    """Wrap code for the page; ``data-lang`` names the language when the fence did."""
    lexer = _lexer(language.lower()) if language and len(code) <= HIGHLIGHT_MAX_CHARACTERS else None
    inner = highlight(code, lexer, _FORMATTER) if lexer else escapeHtml(code)
    named = f' data-lang="{escapeHtml(language)}"' if language else ""
    return f'<div class="codeblock"{named}><pre><code>{inner}</code></pre></div>\n'


def _fence(self: RendererHTML, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
    named = _LANGUAGE.match(tokens[idx].info.strip())
    return _code_block(tokens[idx].content, named.group() if named else "")


def _indented_code(self: RendererHTML, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
    return _code_block(tokens[idx].content, "")


def _image(self: RendererHTML, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
    """Show an image as a link: loading it would tell a stranger who reads this, and when."""
    token = tokens[idx]
    label = escapeHtml(self.renderInlineAsText(token.children, options, env) or "image")
    return label if env.get(_IN_LINK) else f'<a href="{escapeHtml(str(token.attrs["src"]))}">{label}</a>'


def _link_edge(self: RendererHTML, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
    env[_IN_LINK] = tokens[idx].nesting > 0
    return self.renderToken(tokens, idx, options, env)


def _table_edge(self: RendererHTML, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
    """Wrap the table, so that a wide one scrolls by itself."""
    return '<div class="table"><table>\n' if tokens[idx].nesting > 0 else "</table></div>\n"


def _cell(self: RendererHTML, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
    """Name the alignment by a class: the pages allow no inline styles."""
    token = tokens[idx]
    side = _ALIGNMENT.get(str(token.attrs.get("style", "")))
    return f'<{token.tag} class="{side}">' if side else f"<{token.tag}>"


def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "linkify": False}).enable(["table", "strikethrough"])
    rules = {
        "fence": _fence,
        "code_block": _indented_code,
        "image": _image,
        "link_open": _link_edge,
        "link_close": _link_edge,
        "table_open": _table_edge,
        "table_close": _table_edge,
        "th_open": _cell,
        "td_open": _cell,
    }
    for name, rule in rules.items():
        parser.add_render_rule(name, rule)
    return parser


_MARKDOWN = _parser()


def _own_path(url: str) -> str | None:
    """Keep links to paths of this server; any other relative link leads nowhere."""
    return url if url.startswith("/") and not url.startswith(("//", "/\\")) else None


_BLOCK_TAGS = ("p", "hr", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "ul", "ol", "li", "div", "pre")
_INLINE_TAGS = ("br", "code", "span", "em", "strong", "s", "a")
_TABLE_TAGS = ("table", "thead", "tbody", "tr", "th", "td")
_CLEANER = nh3.Cleaner(
    tags={*_BLOCK_TAGS, *_INLINE_TAGS, *_TABLE_TAGS},
    attributes={"a": {"href", "title"}, "ol": {"start"}, "div": {"data-lang"}},
    allowed_classes={
        "div": {"codeblock", "table"},
        "span": {name for name in STANDARD_TYPES.values() if name},
        "th": {"left", "center", "right"},
        "td": {"left", "center", "right"},
    },
    set_tag_attribute_values={"a": {"target": "_blank"}},
    url_schemes={"http", "https", "mailto"},
    url_relative=_own_path,
    link_rel="noopener noreferrer nofollow ugc",
)


def _html(text: str, env: dict[str, Any]) -> SafeString:
    cleaned = _CLEANER.clean(_MARKDOWN.render(text, env))
    return mark_safe(cleaned)  # noqa: S308 - the allow-list above is what makes it safe


def render(text: str) -> SafeString:
    """Return the HTML of a whole Markdown text: no scripts, styles, forms, images or raw HTML."""
    return _html(text, {})


@dataclass(frozen=True, slots=True)
class Block:
    """The HTML of the characters from ``start`` up to ``end`` (code points, counted from the text's beginning)."""

    start: int
    end: int
    html: SafeString


class BlockRenderer:
    """Renders a text while it is being written, one finished top-level block after the other.

    Each block is rendered once, when nothing that may still come can change it; only the unfinished tail is looked
    at again. The blocks follow each other without a gap, and after ``end`` they cover the whole text. Their HTML
    joined is that of ``render``, except that a link reference used before its definition stays plain.
    """

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._length = 0
        self._start = 0
        self._env: dict[str, Any] = {}
        self._next_look = 0
        self._at_line_start = True
        #: What closes the code fence that is open at the end of the tail, and the line that may become that.
        self._closing: re.Pattern[str] | None = None
        self._line = ""

    def feed(self, delta: str) -> list[Block]:
        """Take the next characters; return the blocks that they finished."""
        if not delta:
            return []
        self._pieces.append(delta)
        self._length += len(delta)
        if not self._worth_a_look(delta):
            return []
        tail = self._tail()
        ends, last = _finished(tail)
        blocks = self._emit(tail, ends)
        self._look_later(last if not ends or ends[-1] < len(tail) else None)
        return blocks

    def end(self) -> list[Block]:
        """Return the blocks of what is left; the text is complete."""
        tail = self._tail()
        if not tail:
            return []
        ends, _ = _finished(tail, complete=True)
        return self._emit(tail, ends)

    @property
    def waiting(self) -> int:
        """How many characters are not rendered yet."""
        return self._length

    def _tail(self) -> str:
        tail = "".join(self._pieces)
        self._pieces = [tail]
        return tail

    def _worth_a_look(self, delta: str) -> bool:
        """Tell whether ``delta`` can have finished a block, at no more cost than its own length.

        Without this a long code block or list would be parsed again with every word of it.
        """
        line_begins, self._at_line_start = self._at_line_start, delta.endswith("\n")
        if self._closing is not None:
            *lines, rest = (self._line + delta).split("\n")
            self._line = rest[:200]
            return any(self._closing.fullmatch(line) for line in lines)
        return (line_begins or "\n" in delta) and self._length >= self._next_look

    def _look_later(self, open_block: _Top | None) -> None:
        self._next_look = self._length + self._length // 8 if self._length > EAGER_TAIL else 0
        self._closing = open_block.closing if open_block else None
        if self._closing is not None:
            self._line = self._pieces[0].rpartition("\n")[2][:200]

    def _emit(self, tail: str, ends: list[int]) -> list[Block]:
        blocks, begin = [], 0
        for end in ends:
            html = _html(tail[begin:end], self._env)
            blocks.append(Block(self._start + begin, self._start + end, html))
            begin = end
        self._pieces = [tail[begin:]]
        self._length = len(tail) - begin
        self._start += begin
        return blocks


@dataclass(frozen=True, slots=True)
class _Top:
    """A top-level block of a tail: its kind, the line after its last one, and what would close it."""

    kind: str
    end_line: int
    closing: re.Pattern[str] | None


def _finished(tail: str, *, complete: bool = False) -> tuple[list[int], _Top | None]:
    """Return where the finished blocks of ``tail`` end, and the last block.

    A block takes the blank lines after it along. Unless ``complete``, an unfinished line is not parsed: "*" may
    become a list or a word.
    """
    whole = tail if complete else tail[: tail.rfind("\n") + 1]
    line_ends = [match.end() for match in _NEWLINE.finditer(whole)]
    tops = _top_blocks(whole, line_ends)
    ends = [_with_blank_lines(whole, line_ends, top.end_line) for top in tops]
    if complete:
        return [*ends[:-1], len(tail)], None
    if not tops:
        return [], None
    last = tops[-1]
    blank_after = _ends_with_blank_line(whole[: ends[-1]])
    if not _is_over(last, blank_after=blank_after, next_line=tail[len(whole) :]):
        ends.pop()
    return ends, last


def _ends_with_blank_line(text: str) -> bool:
    lines = _NEWLINE.split(text)
    return len(lines) > 1 and not lines[-2].strip(" \t")


def _top_blocks(whole: str, line_ends: list[int]) -> list[_Top]:
    source = _NEWLINE.sub("\n", whole).replace("\0", "\ufffd")
    tokens: list[Token] = []
    _MARKDOWN.block.parse(source, _MARKDOWN, {}, tokens)
    return [
        _Top(token.type, token.map[1], _closing_fence(token, whole, line_ends))
        for token in tokens
        if token.level == 0 and token.nesting >= 0 and token.map
    ]


def _closing_fence(token: Token, whole: str, line_ends: list[int]) -> re.Pattern[str] | None:
    """Return what the closing line of an open code fence looks like; None for anything else."""
    if token.type != "fence" or token.map is None:
        return None
    pattern = re.compile(rf" {{0,3}}{re.escape(token.markup[0])}{{{len(token.markup)},}}[ \t]*\r?")
    first, after = token.map
    if after - first > 1 and after <= len(line_ends):
        line = whole[line_ends[after - 2] : line_ends[after - 1]].rstrip("\r\n")
        if pattern.fullmatch(line):
            return None
    return pattern


def _with_blank_lines(whole: str, line_ends: list[int], line: int) -> int:
    """Return the offset behind line number ``line - 1`` and the blank lines that follow it."""
    if line > len(line_ends):
        return len(whole)
    end = line_ends[line - 1]
    for next_end in line_ends[line:]:
        if whole[end:next_end].strip(" \t\r\n"):
            break
        end = next_end
    return end


def _is_over(block: _Top, *, blank_after: bool, next_line: str) -> bool:
    """Tell whether nothing that may follow can still belong to the last block."""
    match block.kind:
        case "heading_open" | "hr":
            return True
        case "fence":
            return block.closing is None
        case "paragraph_open" | "table_open" | "blockquote_open":
            return blank_after
        case "bullet_list_open" | "ordered_list_open":
            return blank_after and next_line[:1] not in ("", *" \t\r-+*0123456789")
        case "code_block":
            return blank_after and next_line[:1] not in ("", *" \t\r")
    return False
