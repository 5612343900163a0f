"""Markdown as the HTML that Telegram takes."""

from __future__ import annotations

import re
from html import escape, unescape

from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode

from linking.platforms.splitting import utf16

#: Characters of a message, counted as Telegram does, after the markup is taken out.
LENGTH_MAX = 4096

_MARKDOWN = MarkdownIt("js-default", {"html": False, "linkify": False, "typographer": False})
_TAGS = {"strong": "b", "em": "i", "s": "s"}
_LANGUAGE = re.compile(r"[A-Za-z0-9+#_.-]{1,32}")
# Not tg: ``tg://user?id=…`` would mention whomever the agent was made to name.
_SAFE_LINK = re.compile(r"(?:https?|mailto):", re.IGNORECASE)
_TAG = re.compile(r"<[^>]*>")


def to_html(text: str) -> str | None:
    """Return ``text`` in Telegram's HTML; None when it shows nothing or more than a message holds."""
    shown = _Renderer(text).render()
    return shown if 0 < utf16(unescape(_TAG.sub("", shown)).strip()) <= LENGTH_MAX else None


class _Renderer:
    """Renders a text. Telegram knows no headings, lists and tables: they are drawn with what it has."""

    def __init__(self, text: str) -> None:
        self._lines = text.split("\n")
        self._root = SyntaxTreeNode(_MARKDOWN.parse(text))
        self._quoted = 0

    def render(self) -> str:
        return self._blocks(self._root, "\n\n")

    def _blocks(self, node: SyntaxTreeNode, joint: str) -> str:
        return joint.join(filter(None, (self._block(child) for child in node.children)))

    def _block(self, node: SyntaxTreeNode) -> str:
        match node.type:
            case "paragraph":
                return self._inlines(node)
            case "heading":
                return f"<b>{self._inlines(node, bold=True)}</b>" if node.children else ""
            case "fence" | "code_block":
                return self._code(node)
            case "bullet_list" | "ordered_list":
                return self._list(node)
            case "blockquote":
                return self._quote(node)
            case "hr":
                return "———"
            case "table":
                return f"<pre>{escape(self._source(node), quote=False)}</pre>"
            case "inline":
                return self._inlines(node)
        return escape(self._source(node), quote=False)

    def _code(self, node: SyntaxTreeNode) -> str:
        code = escape(node.content.rstrip("\n"), quote=False)
        if not code.strip():
            return ""
        words = node.info.split() if node.type == "fence" else []
        if words and _LANGUAGE.fullmatch(words[0]):
            return f'<pre><code class="language-{words[0]}">{code}</code></pre>'
        return f"<pre>{code}</pre>"

    def _list(self, node: SyntaxTreeNode) -> str:
        first = int(node.attrs.get("start", 1))
        items = []
        for n, item in enumerate(node.children, first):
            mark = "•" if node.type == "bullet_list" else f"{n}."
            items.append(f"{mark} {_indented(self._blocks(item, chr(10)))}")
        return "\n".join(items)

    def _quote(self, node: SyntaxTreeNode) -> str:
        self._quoted += 1
        inner = self._blocks(node, "\n\n")
        self._quoted -= 1
        if not inner:
            return ""
        # Quotes inside quotes are refused.
        return inner if self._quoted else f"<blockquote>{inner}</blockquote>"

    def _source(self, node: SyntaxTreeNode) -> str:
        begin, end = node.map or (0, 0)
        return "\n".join(self._lines[begin:end])

    def _inlines(self, node: SyntaxTreeNode, *, bold: bool = False, linked: bool = False) -> str:
        return "".join(self._inline(child, bold, linked) for child in node.children)

    def _inline(self, node: SyntaxTreeNode, bold: bool, linked: bool) -> str:
        match node.type:
            case "inline":
                return self._inlines(node, bold=bold, linked=linked)
            case "strong" if bold:
                return self._inlines(node, bold=True, linked=linked)
            case "strong" | "em" | "s":
                tag = _TAGS[node.type]
                inner = self._inlines(node, bold=bold or tag == "b", linked=linked)
                return f"<{tag}>{inner}</{tag}>"
            case "code_inline":
                return f"<code>{escape(node.content, quote=False)}</code>"
            case "softbreak" | "hardbreak":
                return "\n"
            case "link":
                return self._link(str(node.attrs.get("href", "")), self._inlines(node, bold=bold, linked=True))
            case "image":
                name = escape(node.content or "picture", quote=False)
                return name if linked else self._link(str(node.attrs.get("src", "")), name)
        return escape(node.content, quote=False)

    @staticmethod
    def _link(address: str, shown: str) -> str:
        return f'<a href="{escape(address)}">{shown}</a>' if _SAFE_LINK.match(address) and shown else shown


def _indented(text: str) -> str:
    """Indent all lines but the first; those of code blocks stay as they are."""
    lines, inside = [], False
    for n, line in enumerate(text.split("\n")):
        lines.append(line if n == 0 or inside or not line else f"  {line}")
        inside = (inside or "<pre>" in line) and "</pre>" not in line
    return "\n".join(lines)
