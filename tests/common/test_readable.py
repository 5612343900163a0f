"""What a page says to a person, without what only a browser reads; in bounded time."""

from __future__ import annotations

import time

import pytest

from common import readable as module
from common.readable import readable

URL = "https://example.org/docs/page"


def text_of(html: str) -> str:
    return readable(html, URL).text


def test_a_page() -> None:
    page = readable(
        """<!doctype html><html><head><title>  A &amp; B\n</title><style>p { color: red }</style></head>
        <body><h1>Head</h1><p>One <b>bold</b>
        word &eacute;.<p>Two<ul><li>first<li>second <a href="/x?a=1&amp;b=2">link</a>, more</ul>
        <table><tr><th>k<th>v<tr><td>1<td>2</table><pre>  a\n    b</pre><img alt="A cat"><img src=x>""",
        URL,
    )
    assert page.title == "A & B"
    assert page.text == (
        "# Head\n\nOne bold word é.\n\nTwo\n\n- first\n- second [link](https://example.org/x?a=1&b=2), more\n\n"
        "| k | v\n| 1 | 2\n\n```\n  a\n    b\n```\n\n[image: A cat]"
    )


@pytest.mark.parametrize(
    "html",
    [
        "<script>x()</script>",
        "<script>document.write('<p>x</p>')</script>",
        "<style>x</style>",
        "<noscript>x</noscript>",
        "<template><p>x</p></template>",
        "<div hidden>x<p>x</p></div>",
        "<div style='color:red; DISPLAY : none'>x<div>x</div>x</div>",
        "<p style='visibility:hidden'>x",
        "<svg><text>x</text></svg>",
        "<!-- x -->",
        "<!-- x",
        "<script>x",
        "<textarea>x</textarea>",
    ],
)
def test_what_is_not_shown_is_not_read(html: str) -> None:
    assert text_of(f"<p>before</p>{html}") == "before"
    if html.endswith(">"):
        assert text_of(f"<p>before</p>{html}<p>after</p>") == "before\n\nafter"


def test_a_hidden_paragraph_ends_where_the_next_begins() -> None:
    assert text_of("<p hidden>x<p>shown") == "shown"


@pytest.mark.parametrize(
    ("href", "expected"),
    [
        ("other", "[t](https://example.org/docs/other)"),
        ("//b.org/", "[t](https://b.org/)"),
        ("mailto:a@b.org", "[t](mailto:a@b.org)"),
        ("#part", "t"),
        ("javascript:alert(1)", "t"),
        ("data:text/html,x", "t"),
        ("http://[", "t"),
        ("", "t"),
    ],
)
def test_links_that_can_be_fetched_are_kept(href: str, expected: str) -> None:
    assert text_of(f"<a href='{href}'>t</a>") == expected


def test_a_base_counts() -> None:
    assert text_of("<base href='https://b.org/x/'><a href=y>t</a>") == "[t](https://b.org/x/y)"


@pytest.mark.parametrize("html", ["", "no tags", "</p></p>", "<a href=x>y", "a < b", "&#xD800;&#0;", "<p"])
def test_broken_pages_are_read_as_far_as_they_go(html: str) -> None:
    readable(html, "not an address")


@pytest.mark.parametrize(
    "piece",
    [
        *(
            "<!--",
            "<",
            "<a ",
            "<p>x",
            "</",
            "<div>",
            "<a href=",
            "&",
            "<!",
            "<?",
            "<![CDATA[",
            "<a>",
            "<td>",
            "<li>",
        ),
        *("<a x='", '<a x="', "<a =", "<a / ", "<a\t", "&#", "&a", "<pre>\n", "<p hidden>", "</a ", "<title>"),
    ],
)
def test_hostile_pages_take_bounded_time(monkeypatch: pytest.MonkeyPatch, piece: str) -> None:
    monkeypatch.setattr(module, "SECONDS_MAX", 0.2)
    monkeypatch.setattr(module, "PIECE_MAX", 200_000)
    before = time.thread_time()
    readable(piece * (1_000_000 // len(piece)), URL)
    readable(piece + " " * 500_000 + "x", URL)
    readable("<pre>" + " " * 500_000 + "x" + "\xa0" * 500_000 + piece, URL)
    assert time.thread_time() - before < 3


def test_a_page_that_takes_too_long_says_that_there_is_more(monkeypatch: pytest.MonkeyPatch) -> None:
    html = "<p>words</p>" * 20_000
    assert readable(html, URL).whole
    monkeypatch.setattr(module, "SECONDS_MAX", 0.0)
    page = readable(html, URL)
    assert (page.whole, page.text.startswith("words")) == (False, True)
