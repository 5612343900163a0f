"""What may reach a page from a text, and how a text is rendered while it is being written."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.markdown import EAGER_TAIL, Block, BlockRenderer, render

ANSWER = """# Title

A paragraph with **bold**, `code` and ~~nothing~~.
It goes on.

- one
- two

  with a paragraph
1. first
2. second

> quoted
lazily

```python
def f():

    return "x"
```
| a | b |
|---|--:|
| 1 | 2 |

    indented

    code

Setext
======
***
The end"""


def blocks_of(text: str, size: int = 3) -> list[Block]:
    renderer = BlockRenderer()
    blocks = [block for at in range(0, len(text), size) for block in renderer.feed(text[at : at + size])]
    return [*blocks, *renderer.end()]


def joined(blocks: list[Block]) -> str:
    return "".join(block.html for block in blocks)


def assert_covers(blocks: list[Block], text: str) -> None:
    ends = [0, *(block.end for block in blocks)]
    assert [block.start for block in blocks] == ends[:-1]
    assert ends[-1] == len(text)


# --- what may reach a page ------------------------------------------------------------------


def test_common_marks_are_rendered() -> None:
    html = render(ANSWER)
    for piece in ("<h1>Title</h1>", "<strong>bold</strong>", "<s>nothing</s>", "<ol>", '<th class="right">b</th>'):
        assert piece in html


def test_code_is_coloured_with_classes_and_names_its_language() -> None:
    html = render('```python\nprint("<b>")\n```')
    assert '<div class="codeblock" data-lang="python"><pre><code><span class="nb">print</span>' in html
    assert "&lt;b&gt;" in html


def test_code_of_an_unknown_language_is_plain() -> None:
    assert "<code>x &lt; 1\n</code>" in render("```no-such-language\nx < 1\n```")


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "<svg/onload=alert(1)>",
        "<a href='javascript:alert(1)'>x</a>",
        "[x](javascript:alert(1))",
        "[x](JaVaScRiPt:alert(1))",
        "[x](&#106;avascript:alert(1))",
        "[x](java\tscript:alert(1))",
        "[x](vbscript:x) [y](data:text/html;base64,PHNjcmlwdD4=) [z](file:///etc/passwd)",
        "<javascript:alert(1)>",
        "![x](javascript:alert(1))",
        '![x](http://a/b.png "onerror=alert(1)")',
        '[x](http://a/"onmouseover="alert(1))',
        "[a]: javascript:alert(1)\n\n[a]",
        '```"><script>alert(1)</script>\nx\n```',
        "```python onload=alert(1)\n</code></pre><script>alert(1)</script>\n```",
        "    </code></pre><iframe src=//evil>",
        "<div><p><style>*{display:none}</style><form action=//evil><input name=x>",
        "`<script>`<script>`</script>`",
        "| <script> |\n|--|\n| <b onclick=x> |",
        "<!-- --><script>x</script>",
        "<scr<script>ipt>alert(1)</scr</script>ipt>",
        "[<img src=x onerror=x>](http://a)",
        "> <iframe srcdoc='<script>'>",
    ],
)
def test_nothing_that_runs_or_loads_survives(text: str) -> None:
    html = render(text)
    tags = re.findall(r"<(/?[a-zA-Z][^\s>]*)([^>]*)>", html)
    allowed = {"p", "a", "code", "pre", "div", "table", "thead", "tbody", "tr", "th", "td", "blockquote", "span"}
    assert {name.strip("/") for name, _ in tags} <= allowed
    for _, attributes in tags:
        assert not re.search(r"(^|\s)(on\w+|style|src|srcdoc|action)\s*=", re.sub(r'"[^"]*"', '""', attributes))
    for href in re.findall(r'href="([^"]*)"', html):
        assert href.startswith(("http://", "https://", "mailto:", "/"))


def test_links_open_elsewhere_and_tell_nothing() -> None:
    assert render("[x](https://example.org)") == (
        '<p><a href="https://example.org" target="_blank" rel="noopener noreferrer nofollow ugc">x</a></p>\n'
    )


def test_remote_images_are_links() -> None:
    html = render("![a *cat*](https://example.org/cat.png) ![](https://example.org/b.png)")
    assert "<img" not in html
    assert 'href="https://example.org/cat.png"' in html
    assert ">a cat</a>" in html
    assert ">image</a>" in html


def test_an_image_inside_a_link_leaves_the_link() -> None:
    html = render("[![badge](https://a/b.svg)](https://c) ![x](https://d)")
    assert re.findall(r'href="([^"]*)"', html) == ["https://c", "https://d"]
    assert ">badge</a>" in html


@pytest.mark.parametrize("target", ["//evil.example", "page.html", "?logout", "#top"])
def test_relative_links_lead_nowhere_unless_they_are_paths_of_this_server(target: str) -> None:
    assert "href" not in render(f"[x]({target})")
    assert 'href="/c/1/"' in render("[x](/c/1/)")


def test_classes_cannot_be_borrowed_from_the_page() -> None:
    assert '<div class="codeblock" data-lang="composer"><pre><code>x' in render("```composer\nx\n```")
    assert re.findall(r"<\w+ class=\S+", render('<div class="composer">x</div>')) == []


def test_rendering_in_many_threads_gives_the_same() -> None:
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(render, [ANSWER] * 64)) == {render(ANSWER)}


# --- while it is being written --------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 7, 10_000])
def test_blocks_cover_the_text_and_join_to_its_html(size: int) -> None:
    blocks = blocks_of(ANSWER, size)
    assert_covers(blocks, ANSWER)
    assert joined(blocks) == render(ANSWER)
    assert len(blocks) == 11


LINES = st.sampled_from(
    [
        *("", "", "", " ", "word", "two words", "- item", "* item", "+ item", "  more", "    deep", "\tdeep"),
        *("1. one", "2) two", "10. ten", "# head", "###### head", "====", "---", "***", "> quote", "> - in it"),
        *("> ```", "   ```", "a | b", "x\0y", "é 🦉", "\u00a0", "\x0b", "\u2028", "  - sub", "    - sub", "-\tx"),
        *("```", "```py", "````", "~~~", "|a|b|", "|-|-|", "<b>", "**bold", "end**", "`", "-", "*", "1.", "12"),
        *("\\", ">", "#", "\r", "x\ry"),
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(LINES, max_size=14), st.sampled_from(["\n", "\r\n"]), st.lists(st.integers(0, 200), max_size=20))
def test_any_text_in_any_pieces_gives_the_same(lines: list[str], newline: str, cuts: list[int]) -> None:
    text = newline.join(lines)
    renderer, blocks, begin = BlockRenderer(), [], 0
    for cut in sorted({*(min(cut, len(text)) for cut in cuts), len(text)}):
        blocks += renderer.feed(text[begin:cut])
        begin = cut
    blocks += renderer.end()
    assert_covers(blocks, text)
    assert joined(blocks) == render(text)


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="ab \n\n-*+1.#>`~|=[]():<&_\\\t!", max_size=80), st.integers(1, 9))
def test_any_characters_are_covered(text: str, size: int) -> None:
    blocks = blocks_of(text, size)
    assert_covers(blocks, text)
    if "]:" not in text:  # definitions of references work forwards only while a text is being written
        assert joined(blocks) == render(text)


def test_a_paragraph_is_there_as_soon_as_a_blank_line_follows() -> None:
    renderer = BlockRenderer()
    assert renderer.feed("one\n") == []
    assert [block.html for block in renderer.feed("\n")] == ["<p>one</p>\n"]


def test_what_waits_is_counted() -> None:
    renderer = BlockRenderer()
    renderer.feed("one\n\ntw")
    assert renderer.waiting == 2
    renderer.end()
    assert renderer.waiting == 0


def test_a_heading_a_rule_and_a_closed_fence_are_there_at_once() -> None:
    renderer = BlockRenderer()
    for text in ("# head\n", "***\n", "```\nx\n```\n"):
        assert len(renderer.feed(text)) == 1


def test_a_list_is_there_when_something_else_begins() -> None:
    renderer = BlockRenderer()
    assert renderer.feed("- a\n\n") == []
    assert renderer.feed("-") == []
    assert renderer.feed(" b\n\n") == []
    assert renderer.feed("T")[0].html.count("<li>") == 2


def test_a_definition_serves_the_blocks_after_it() -> None:
    assert 'href="https://a"' in joined(blocks_of("[x]: https://a\n\npara\n\nsee [x]\n\nend"))


def test_offsets_count_code_points() -> None:
    assert [(block.start, block.end) for block in blocks_of("🦉🦉\n\nowl")] == [(0, 4), (4, 7)]


def test_nothing_written_is_nothing_rendered() -> None:
    assert blocks_of("") == []
    assert [(block.start, block.end, block.html) for block in blocks_of("\n \n")] == [(0, 3, "")]


@pytest.mark.parametrize(
    "text",
    [
        "```\n" + "some code in a line\n" * 4000 + "```\n",
        "".join(f"- item {number}\n\n" for number in range(4000)),
        "one long line " * 4000,
    ],
    ids=["fence", "loose list", "paragraph"],
)
def test_a_huge_block_is_not_parsed_again_with_every_word(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[int] = []
    from common import markdown

    finished = markdown._finished
    monkeypatch.setattr(
        markdown, "_finished", lambda tail, **kw: (parsed.append(len(tail)), finished(tail, **kw))[1]
    )
    blocks = blocks_of(text, 10)
    assert_covers(blocks, text)
    small = sum(size for size in parsed if size <= EAGER_TAIL)
    assert sum(parsed) - small < 15 * len(text)
    assert len(parsed) < 1000
