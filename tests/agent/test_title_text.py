"""What of a model's answer may be a title, and the one that is made without a model."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from copilot.agent.title_text import TITLE_MAX, is_valid, local_title, question, title_of


@pytest.mark.parametrize(
    ("answer", "title"),
    [
        ("Fixing the Login Form", "Fixing the Login Form"),
        ('"Fixing the Login Form".', "Fixing the Login Form"),
        ("**Title:** Fixing the Login Form", "Fixing the Login Form"),
        ("Session title - Fixing the Login Form", "Fixing the Login Form"),
        ("# Fixing   the\nLogin Form", "Fixing the Login Form"),
        ("<think>They want a title.</think>Fixing the Login Form", "Fixing the Login Form"),
        ("They want a title.</think>\n\nFixing the Login Form", "Fixing the Login Form"),
        ("<|channel|>analysis<|message|>Hm.<|end|>Fixing the Login Form", "Fixing the Login Form"),
        ("User authentication in Django", "User authentication in Django"),
        ("Wetter in Zürich", "Wetter in Zürich"),
        ("東京の天気", "東京の天気"),
    ],
)
def test_a_title_is_freed_of_what_is_around_it(answer: str, title: str) -> None:
    assert title_of(answer) == title


@pytest.mark.parametrize(
    "answer",
    [
        "",
        " \n",
        '""',
        "The user wants a title for the conversation",
        "Ther user asks about forms",
        "User wants to fix a form",
        "They want me to name this",
        "I should find a short title",
        "We need to name the conversation",
        "Let me think about it",
        "Okay, let me see",
        "Here's a thinking process: first",
        "Here is my thought",
        "OK",
        "Done.",
        "All set!",
        "<think>They want a title, so",
        "<|channel|>analysis<|message|>Something",
        "A title would be good here. " * 10,
    ],
)
def test_leaked_thoughts_and_answers_that_name_nothing_are_refused(answer: str) -> None:
    assert title_of(answer) == ""


def test_a_long_title_is_cut_at_a_word() -> None:
    title = title_of("Comparing " + "many different databases " * 5)
    assert len(title) <= TITLE_MAX
    assert title.endswith("…")
    assert "  " not in title


def test_a_secret_is_no_part_of_a_title() -> None:
    assert "abcdefghij" not in title_of("Key sk-proj-abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGH leaked")


@given(st.text(max_size=300))
def test_whatever_a_model_answers_a_title_is_short_valid_and_on_one_line(answer: str) -> None:
    title = title_of(answer)
    assert len(title) <= TITLE_MAX
    assert "\n" not in title
    assert title == "" or (is_valid(title) and title.strip())


@pytest.mark.parametrize(
    ("text", "title"),
    [
        (
            "Please help me write a parser for configuration files in Rust. It is slow.",
            "Parser configuration files Rust",
        ),
        ("Résumé: comparer comparer différentes bases", "Résumé comparer différentes bases"),
        ("hello", ""),
        ("東京の天気を教えてください", ""),
        ("how are you?", ""),
    ],
)
def test_without_a_model_the_words_that_matter_are_the_title(text: str, title: str) -> None:
    assert local_title(text) == title


def test_the_two_questions_differ_and_both_have_the_exchange() -> None:
    first, second = question(0, "What is 2 + 2?", "4."), question(1, "What is 2 + 2?", "4.")
    assert first != second
    assert all("User: What is 2 + 2?\nAssistant: 4." in each for each in (first, second))
