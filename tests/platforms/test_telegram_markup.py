"""Markdown becomes HTML that Telegram takes, whatever models write."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linking.platforms.splitting import utf16
from linking.platforms.telegram_markup import LENGTH_MAX, to_html
from tests.platforms.telegram_stand_in import _Markup


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("1 < 2 & 3 > 2", "1 &lt; 2 &amp; 3 &gt; 2"),
        ("<b>not bold</b>", "&lt;b&gt;not bold&lt;/b&gt;"),
        ("**bold** *italic* ~~gone~~ `a<b`", "<b>bold</b> <i>italic</i> <s>gone</s> <code>a&lt;b</code>"),
        ("***both***", "<i><b>both</b></i>"),
        ("# A **head**\n\ntext", "<b>A head</b>\n\ntext"),
        ("- one\n- two\n  - three", "• one\n• two\n  • three"),
        ("3. three\n4. four", "3. three\n4. four"),
        ("```python\nx < 1\n```", '<pre><code class="language-python">x &lt; 1</code></pre>'),
        ("```\nplain\n```", "<pre>plain</pre>"),
        ('```"><b\nx\n```', "<pre>x</pre>"),
        ("[here](https://example.org/?a=1&b=2)", '<a href="https://example.org/?a=1&amp;b=2">here</a>'),
        ("[here](javascript:alert(1))", "[here](javascript:alert(1))"),
        ("[here](/etc/passwd)", "here"),
        # Would call somebody by name.
        ("[here](tg://user?id=1001)", "here"),
        ("![a cat](https://example.org/cat.png)", '<a href="https://example.org/cat.png">a cat</a>'),
        ("> quoted\n> > twice", "<blockquote>quoted\n\ntwice</blockquote>"),
        ("a\nb", "a\nb"),
        ("unclosed **bold and `code", "unclosed **bold and `code"),
        ("| a | b |\n|---|---|\n| 1 | <2> |", "<pre>| a | b |\n|---|---|\n| 1 | &lt;2&gt; |</pre>"),
        ("one\n\n---\n\ntwo", "one\n\n———\n\ntwo"),
        ("snake_case_name stays", "snake_case_name stays"),
        ("&lt;b&gt; &copy;", "&lt;b&gt; ©"),
    ],
    ids=lambda value: None,
)
def test_what_becomes_of_markdown(text: str, html: str) -> None:
    assert to_html(text) == html


_PIECES = st.sampled_from(
    ["*", "**", "_", "`", "```\n", "```py\n", "~~", "[", "](https://x.org)", "<", "&", "> ", "- ", "1. "]
)


@settings(max_examples=200, deadline=None)
@given(text=st.lists(_PIECES | st.text(max_size=6), max_size=40).map("".join))
def test_telegram_can_read_whatever_comes_of_it(text: str) -> None:
    html = to_html(text)
    assert html is None or utf16(_Markup.read(html).strip()) <= LENGTH_MAX


def test_a_text_that_grows_too_long_is_left_to_be_shown_as_it_is() -> None:
    assert to_html("1.\n" * 1 + "x" * LENGTH_MAX) is None


@pytest.mark.parametrize("text", ["", "  ", "```\n```", "[]()"], ids=["empty", "blank", "block", "link"])
def test_what_shows_nothing_is_no_html(text: str) -> None:
    assert to_html(text) is None or _Markup.read(str(to_html(text))).strip()
