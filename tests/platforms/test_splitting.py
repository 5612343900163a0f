"""Long answers become several messages, and nothing of them is lost, doubled or torn."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from linking.platforms.splitting import Size, messages, split, utf16

_PIECES = st.sampled_from(
    [
        "word ",
        "a sentence. ",
        "\n",
        "\n\n",
        "```python\n",
        "```\n",
        "~~~\n",
        "  ````text\n",
        "  ````\n",
        "**strong words**",
        "`some code`",
        "[a link](https://example.org/x_(y))",
        "*",
        "_",
        "[",
        "😀",
        "👩‍👩‍👧‍👦",
        "🇩🇪🇫🇷",
        "e\u0301",
        "x" * 37,
        "  ",
        "& < >",
        "\r\n",
    ]
)
_LINES = st.sampled_from(
    [
        "```python\n",
        "```\n",
        "x = 1\n",
        "\n",
        "words of a line that is longer than most\n",
        "**strong**\n",
        "`code` and [a](b)\n",
    ]
)
TEXTS = st.lists(_PIECES | st.text(max_size=8), max_size=60).map("".join)


@settings(max_examples=120, deadline=None)
@given(text=TEXTS, limit=st.integers(30, 120), units=st.sampled_from([len, utf16]))
def test_the_pieces_are_the_text_and_each_fits(text: str, limit: int, units: object) -> None:
    size = Size(limit, units)  # type: ignore[arg-type]
    pieces = split(text, size)
    assert "".join(piece.text for piece in pieces) == text
    assert all(piece.text for piece in pieces)
    assert [utf16(piece.shown) for piece in pieces if size.measure(piece.shown) > limit] == []


@settings(max_examples=80, deadline=None)
@given(text=TEXTS, limit=st.integers(30, 90), step=st.integers(1, 25))
def test_what_was_written_stays_as_the_text_grows(text: str, limit: int, step: int) -> None:
    before: list[str] = []
    for end in range(0, len(text) + step, step):
        pieces = [piece.text for piece in split(text[:end], Size(limit))]
        # Before the end a fence may turn out to be none; only what was cut under the same reading must stay.
        if before and "```" not in text and "~~~" not in text:
            assert pieces[: len(before) - 1] == before[:-1]
        before = pieces


@settings(max_examples=80, deadline=None)
@given(lines=st.lists(_LINES, max_size=40), limit=st.integers(40, 90))
def test_what_was_written_stays_as_code_grows_line_by_line(lines: list[str], limit: int) -> None:
    before: list[str] = []
    for end in range(len(lines) + 1):
        pieces = [piece.shown for piece in split("".join(lines[:end]), Size(limit))]
        if before:
            assert pieces[: len(before) - 1] == before[:-1]
        before = pieces


def _fences(text: str) -> int:
    return sum(line.strip().startswith(("```", "~~~")) for line in text.splitlines())


@example([("", []), ("python", [*["x = 1"] * 3, "y" * 30, "", "y" * 30]), ("", [])])
@settings(max_examples=80, deadline=None)
@given(
    blocks=st.lists(
        st.tuples(
            st.sampled_from(["", "python", "c++"]), st.lists(st.sampled_from(["x = 1", "", "y" * 30]), max_size=30)
        ),
        min_size=1,
        max_size=4,
    )
)
def test_each_message_closes_the_code_blocks_that_it_opens(blocks: list[tuple[str, list[str]]]) -> None:
    text = "\n\n".join("\n".join([f"Look:\n```{name}", *lines, "```"]) for name, lines in blocks)
    for shown in messages(text, Size(80)):
        assert _fences(shown) % 2 == 0, shown


def test_a_code_block_goes_on_with_its_language() -> None:
    code = "\n".join(f"line_{n} = {n}" for n in range(30))
    shown = messages(f"Here it is:\n\n```python\n{code}\n```\n\nThat is all.", Size(200))
    assert len(shown) > 2
    assert all(each.startswith("```python\n") for each in shown[1:])
    assert all(each.rstrip().endswith("```") for each in shown[:-1])
    lines = [line for each in shown for line in each.splitlines() if line.startswith("line_")]
    assert lines == code.splitlines()


def test_a_block_that_is_still_being_written_is_closed_as_it_is_shown() -> None:
    assert messages("```sh\nls", Size(100)) == ["```sh\nls\n```"]


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("word " * 7 + "**a strong statement here** and more " + "word " * 10, "**a strong statement here**"),
        ("word " * 7 + "`code with some spaces` and more " + "word " * 10, "`code with some spaces`"),
        (
            "word " * 7 + "[a link of words](https://example.org) " + "word " * 10,
            "[a link of words](https://example.org)",
        ),
    ],
    ids=["strong", "code", "link"],
)
def test_what_belongs_together_stays_together(text: str, whole: str) -> None:
    shown = messages(text, Size(50))
    assert any(whole in each for each in shown), shown


def test_it_is_cut_at_the_best_place() -> None:
    first, second = "One. Two words\nof a paragraph", "Another paragraph that goes on for a while"
    assert messages(f"{first}\n\n{second}", Size(50)) == [first, second]


@pytest.mark.parametrize(
    "character", ["👩‍👩‍👧‍👦", "👍🏽", "e\u0301", "🇩🇪"], ids=["family", "tone", "accent", "flag"]
)
def test_no_character_is_torn(character: str) -> None:
    for shown in messages(character * 40, Size(31, utf16)):
        assert shown.replace(character, "") == ""


def test_emoji_count_twice_for_telegram() -> None:
    assert [utf16(each) for each in messages("😀" * 100, Size(54, utf16))] == [50, 50, 50, 50]


def test_nothing_to_see_is_no_message() -> None:
    assert messages("", Size(50)) == []
    assert messages(" \n" * 200, Size(50)) == []


@pytest.mark.parametrize("opener", ["```" + "word " * 40, "`" * 300, "~" * 300], ids=["words", "ticks", "tildes"])
def test_a_first_line_of_code_that_fills_messages_is_not_repeated_in_each(opener: str) -> None:
    text = f"{opener}\n" + "x = 1\n" * 50
    size = Size(140)
    assert "".join(piece.text for piece in split(text, size)) == text
    made = messages(text, size)
    assert max(map(len, made)) <= size.limit
    assert len(made) < 12
