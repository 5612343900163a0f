"""Titles as text: what a model is asked, what of its answer may be a title, and one made without a model."""

from __future__ import annotations

import re

from common.redaction import redact_text
from common.text import storable

TITLE_MAX = 80
#: An answer longer than this is a thought, not a title.
ANSWER_MAX = 160
SNIPPET_MAX = 500
_WORDS_MAX, _LOCAL_MAX = 4, 60

SYSTEM = "You name conversations. You answer with a title and nothing else."
#: What is asked first, and when that came to nothing.
PROMPTS = (
    "Write a title for the conversation below, in its language: 3 to 8 words that say what it is about, for both "
    "sides. No Markdown, no quotation marks, no prefix, no full sentence, no comment.",
    "Name the topic of the conversation below as a short noun phrase of 3 to 6 words, in its language. Answer "
    "with the phrase alone.",
)

_THOUGHTS = (
    re.compile(r"<(think|thinking|thought)\b[^>]*>.*?</\1\s*>", re.IGNORECASE | re.DOTALL),
    re.compile(r"^.*</(?:think|thinking|thought)\s*>", re.IGNORECASE | re.DOTALL),
    re.compile(r"<(?:think|thinking|thought)\b.*$", re.IGNORECASE | re.DOTALL),
    re.compile(r"<\|?channel\|?>\s*(?:analysis|thought).*?<\|?(?:end|channel)\|?>", re.IGNORECASE | re.DOTALL),
)
_PREFIX = re.compile(r"^[\s#*_>\"'`“”«»-]*(?:session |chat |conversation )?title\s*[:\-]\s*", re.IGNORECASE)
_AROUND = " \t\r\n\"'`“”„«»*_#>~-."
_INVALID = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"^$",
        r"</?think|<\|?channel|<\|?turn|<\|",
        r"^ther? user\b",
        r"^user (?:wants?|asks?|asked|is|was|needs?|requests?|requested|said|says|would|has|just|sent|greets?)\b",
        r"\b(?:they|user) wants? me to\b",
        r"^(?:i|we) (?:should|need to|will|can|must|have to)\b",
        r"^(?:okay, |ok, )?let me\b",
        r"^here(?:['\u2019])?s? (?:is )?(?:a|my) (?:thinking|thought)",
        r"^(?:ok|okay|done|all set|completed?|finished)[.! ]*$",
    )
)
_SENTENCE = re.compile(r"[.!?\n]")
_WORD = re.compile(r"[^\W\d_]{3,}")
_LATIN = re.compile(r"[a-z\u00c0-\u024f]+", re.IGNORECASE)
_STOP = frozenset(
    re.findall(
        r"\w+",
        "about and are but can could does for from give have hello help how into its like make need not now our"
        " please should show some tell than thank thanks that the their them then there these they this was what"
        " when where which who why will with would write you your",
    )
)


def snippet(text: str) -> str:
    """Return the beginning of what somebody said."""
    return " ".join(text.split())[:SNIPPET_MAX]


def question(variant: int, asked: str, answered: str) -> str:
    """Return what a model is asked about an exchange."""
    said = f"Assistant: {answered}" if answered else ""
    return f"{PROMPTS[variant]}\n\n<conversation>\nUser: {asked}\n{said}\n</conversation>"


def title_of(answer: str) -> str:
    """Return the title in a model's answer, without secrets; "" where there is none, as in leaked thinking."""
    text = storable(answer)
    for thoughts in _THOUGHTS:
        text = thoughts.sub(" ", text)
    text = _PREFIX.sub("", text).strip(_AROUND)
    text = " ".join(text.split())
    if len(text) > ANSWER_MAX or not is_valid(text):
        return ""
    return _cut(redact_text(text), TITLE_MAX)


def is_valid(title: str) -> bool:
    """Whether this names something, and is not what a model said to itself or to us."""
    return not any(pattern.search(title.strip()) for pattern in _INVALID)


def local_title(text: str) -> str:
    """Return the first distinct words of the first sentence that mean something; "" when there are too few.

    Only for text in Latin letters: elsewhere words are not told apart by spaces.
    """
    sentence = next((each for each in _SENTENCE.split(redact_text(text)) if each.strip()), "")
    words: list[str] = []
    for word in _WORD.findall(sentence):
        known = {each.casefold() for each in words}
        if _LATIN.fullmatch(word) and word.casefold() not in _STOP | known:
            words.append(word)
    kept = " ".join(words[:_WORDS_MAX])
    return _cut(kept[:1].upper() + kept[1:], _LOCAL_MAX) if len(words) > 1 else ""


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1].rsplit(' ', 1)[0]}…"
