"""What Slack is sent for Markdown, and what is read of what it sends."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linking.platforms.slack_platform import Slack
from linking.platforms.slack_text import mrkdwn
from linking.platforms.slack_wire import BLOCK_MAX, plain
from linking.platforms.splitting import messages, utf16

ME = "U0BOT"


@pytest.mark.parametrize(
    ("markdown", "shown"),
    [
        pytest.param("plain", "plain", id="plain"),
        pytest.param("a < b & c > d", "a &lt; b &amp; c &gt; d", id="escaped"),
        pytest.param("<!channel> <@U1> &lt;", "&lt;!channel&gt; &lt;@U1&gt; &amp;lt;", id="no-mention"),
        pytest.param("**bold** and __bold__", "*bold* and *bold*", id="bold"),
        pytest.param("*slanted* 2 * 3 * 4", "_slanted_ 2 * 3 * 4", id="slanted"),
        pytest.param("~~gone~~ ~5", "~gone~ ~5", id="struck"),
        pytest.param("# A **b** #\ntext", "*A b*\ntext", id="heading"),
        pytest.param("- a\n  * **b**\n+ c", "• a\n  • *b*\n• c", id="list"),
        pytest.param(
            "[the & site](https://a.example/?x=1&y=2)",
            "<https://a.example/?x=1&amp;y=2|the &amp; site>",
            id="link",
        ),
        pytest.param("![a|b](https://a.example/i.png)", "<https://a.example/i.png|a/b>", id="picture"),
        pytest.param("<https://a.example/?x&y>", "<https://a.example/?x&amp;y>", id="address"),
        pytest.param("see https://a.example/b_c_d, *now*.", "see <https://a.example/b_c_d>, _now_.", id="bare"),
        pytest.param("[x](javascript:alert)", "[x](javascript:alert)", id="no-link"),
        pytest.param("`a < **b**` c", "`a &lt; **b**` c", id="code"),
        pytest.param("``a ` b``", "`a ` b`", id="code-with-tick"),
        pytest.param("```python\na < **b**\n# c\n```\nd", "```\na &lt; **b**\n# c\n```\nd", id="block"),
        pytest.param("~~~\na\n~~~", "```\na\n```", id="tilde-block"),
        pytest.param("```\nopen", "```\nopen\n```", id="open-block"),
        pytest.param("\\*as \\_is\\* \\<b\\>", "*as _is* &lt;b&gt;", id="backslash"),
        pytest.param("**[a](https://b.example) *c* d**", "*<https://b.example|a> _c_ d*", id="nested"),
        pytest.param("snake_case_name and 2*3*4", "snake_case_name and 2*3*4", id="inside-words"),
    ],
)
def test_markdown_becomes_mrkdwn(markdown: str, shown: str) -> None:
    assert mrkdwn(markdown) == shown


@given(st.text(alphabet=st.sampled_from("ab <>&*_~`[]()!#-\n\\|:/.😀") | st.characters(), max_size=300))
def test_nothing_of_a_text_becomes_a_mention(text: str) -> None:
    assert re.fullmatch(r"(?:[^<>]|<(?:https?://|mailto:)[^<>|]+(?:\|[^<>|]+)?>)*", mrkdwn(text))


@settings(max_examples=30)
@given(
    st.lists(
        st.sampled_from(["word ", "<&> ", "**b** ", "\n", "```\n", "- x\n", "😀", "[a](https://b.example/&) "])
    )
)
def test_every_message_fits_a_block(words: list[str]) -> None:
    text = "".join(words) * 20
    assert all(utf16(mrkdwn(each)) <= BLOCK_MAX for each in messages(text, Slack.size))


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        pytest.param(f"<@{ME}> hi", "hi", id="own-name"),
        pytest.param("<@U1> and <@U2|bob>", "@U1 and @bob", id="names"),
        pytest.param("<#C1|general> <#C2>", "#general #C2", id="channels"),
        pytest.param("<!here> <!subteam^S1|@crew> <!subteam^S2>", "@here @crew @subteam", id="groups"),
        pytest.param("<https://a.example/?x=1&amp;y=2>", "https://a.example/?x=1&y=2", id="address"),
        pytest.param("<https://a.example|a.example>", "https://a.example", id="same-address"),
        pytest.param("<https://a.example|the site>", "the site (https://a.example)", id="link"),
        pytest.param("<mailto:a@b.example|a@b.example>", "a@b.example", id="mail"),
        pytest.param("a &lt; b &amp;&amp; &amp;lt;", "a < b && &lt;", id="escapes"),
    ],
)
def test_what_people_write_is_read_as_they_wrote_it(sent: str, read: str) -> None:
    assert plain(sent, ME) == read


def test_many_backticks_take_no_longer_than_other_text() -> None:
    # Where each begins a search of its own the time grows with the cube of their number: minutes for these.
    assert mrkdwn("`" * 20_000) == "`" * 20_000
