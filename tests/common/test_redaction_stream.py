"""A text that is shown while it grows shows no more than it would as a whole."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from common.redaction import redact_text
from common.redaction_rules import CONTEXT_RULES, LITERAL_RULES
from common.redaction_stream import StreamRedactor

CHARACTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"
PROSE = [
    "The task is done. ", "See https://example.com:8080/a-b, ", "\n\n", "AI", " is ", "sk-", "eyJ", "ghp_",
    "-----BEGIN ", "token: ", "password", " = ", "'", '"', "key", ": none\n", "ünï", "⟦", "1", ".", "x",
    "Bearer ", "://", "@", "--token ", "--", "\\n",
]  # fmt: skip


def in_pieces(text: str, cuts: list[int]) -> list[str]:
    places = sorted({cut % (len(text) + 1) for cut in cuts} | {0, len(text)})
    return [text[begin:end] for begin, end in pairwise(places)]


def streamed(pieces: list[str]) -> str:
    redactor = StreamRedactor()
    return "".join([redactor.feed(piece) for piece in pieces]) + redactor.flush()


@st.composite
def secrets(draw: st.DrawFn) -> str:
    """A secret of a rule of literal prefixes, its random part made anew."""
    rule = draw(st.sampled_from(LITERAL_RULES))
    text, body = rule.example
    letters = st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567" if body.isupper() else CHARACTERS[:62])
    fresh = draw(st.lists(letters, min_size=len(body), max_size=len(body)))
    random = "".join(
        new if old.isalnum() and place > 2 else old
        for place, (old, new) in enumerate(zip(body, fresh, strict=True))
    )
    more = draw(st.integers(0, 700)) if rule.name in ("openai", "jwt", "private_key", "slack", "pypi") else 0
    return text.removeprefix("it is ").replace(body, random + random[-1] * more)


#: What a value stands beside, in pieces that make other things too.
NAMED = [rule.example[0] for rule in CONTEXT_RULES] + [
    "heroku", "Twitter", "_KEY", ",", ", ", " =", ">", "||", "\n", "3f9a8b7c-6d5e-4f3a-2b1c-0d9e8f7a6b5c", '", "',
    '"--password"', "value=", "sha256: ", "a1b2c3d4e5f6a7b8c9d0e1f2a", "bearer ", "dapi", "=", "\\\"", "pass",
]  # fmt: skip
TEXTS = st.lists(
    st.one_of(secrets(), st.sampled_from(PROSE), st.sampled_from(NAMED), st.text(max_size=5)), max_size=8
).map("".join)
CUTS = st.lists(st.integers(0, 5000), max_size=60)


@settings(max_examples=400, deadline=None)
@given(text=TEXTS, cuts=CUTS)
def test_all_that_is_shown_is_the_redacted_text(text: str, cuts: list[int]) -> None:
    assert streamed(in_pieces(text, cuts)) == redact_text(text)


@settings(max_examples=200, deadline=None)
@given(text=TEXTS)
def test_all_that_is_shown_is_the_redacted_text_character_by_character(text: str) -> None:
    assert streamed(list(text)) == redact_text(text)


@settings(max_examples=300, deadline=None)
@given(before=st.sampled_from(PROSE), secret=secrets(), cuts=CUTS, lapses=st.integers(0, 2**61))
def test_whoever_waits_too_long_sees_no_eight_characters_of_a_secret(
    before: str, secret: str, cuts: list[int], lapses: int
) -> None:
    text = f"{before} {secret}"
    around = re.split("⟦hidden:[0-9a-f]{8}⟧", redact_text(text))
    assume(len(around) == 2)
    body = text[len(around[0]) : len(text) - len(around[1])]
    redactor, shown = StreamRedactor(), ""
    for number, piece in enumerate(in_pieces(text, cuts)):
        shown += redactor.feed(piece)
        if lapses >> number & 1:
            shown += redactor.lapse()
    shown += redactor.flush()
    assert body[:8] not in shown


@pytest.mark.parametrize("text", [
    "The task is done.", "The token is", "a key: value and", '{"key": "a long text', "tokens: 12 or", "auth, and",
    "See https://example.com/a-b?c=d", "It took 12 s, 3.5 times as", "x = y - 1 / z", "A B C",
])  # fmt: skip
def test_ordinary_text_is_shown_at_once(text: str) -> None:
    redactor = StreamRedactor()
    assert "".join(redactor.feed(piece) for piece in re.findall(r"\s?\w+|\W", text)) == text
    assert not redactor.holds


def test_what_is_behind_a_public_prefix_waits_until_it_is_decided() -> None:
    redactor = StreamRedactor()
    assert [redactor.feed(piece) for piece in ("use sk", "-", "learn", " or")] == ["use sk", "-", "", "learn or"]


def test_a_few_characters_are_shown_when_they_have_waited_and_more_are_not() -> None:
    redactor = StreamRedactor()
    redactor.feed("sk-")
    assert (redactor.feed("Ab3dEf6"), redactor.holds, redactor.lapse()) == ("", True, "Ab3dEf6")
    assert (redactor.feed("h"), redactor.holds, redactor.lapse()) == ("", False, "")


def test_no_more_than_256_characters_wait() -> None:
    redactor = StreamRedactor()
    shown = redactor.feed("eyJ" + "a1B2" * 100)
    assert shown == "eyJ"
    assert redactor.feed("c3D4" * 1000) == ""
    assert redactor.feed(" and").endswith("⟧ and")
