"""Finding secrets in a text, from its beginning to its end, also while the text is still growing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from common.redaction_rules import LONG, RULES, Found, Rule

Span = tuple[int, int]
PLACEHOLDER = re.compile("⟦hidden:[0-9a-f]{8}⟧")


@dataclass(frozen=True, slots=True)
class Open:
    """What stands at the end of a text and may be, or become, a secret."""

    #: From where on the text is to be looked at again, and where the secret begins.
    start: int
    begin: int
    #: What the secret consists of; None for the beginning of one of the server's own.
    run: re.Pattern[str] | None = None
    #: It is so long that it is one.
    certain: bool = False
    #: What may stand behind it before it goes on.
    waits: re.Pattern[str] | None = None

    def moved(self, by: int) -> Open:
        """Return the same in a text that begins elsewhere."""
        return replace(self, start=self.start + by, begin=self.begin + by)


Anchored = tuple[str, Rule]

#: Most anchors end in one of these, so that the text is searched for few characters and not for many anchors.
_MARK = re.compile(r"[_.\-]")
_LITERAL: list[Anchored] = [(anchor, rule) for rule in RULES if not rule.folded for anchor in rule.anchors]
_OTHERS = [each for each in _LITERAL if len(each[0]) < 3 or not _MARK.fullmatch(each[0][-1])]
#: Only beside one of these is a value that a name announces.
_ASSIGNS = re.compile(r"[:=,>|]")


def _by_anchor() -> list[tuple[str, list[Rule]]]:
    anchors: dict[str, list[Rule]] = {}
    for rule in RULES:
        for anchor in rule.anchors if rule.folded else ():
            anchors.setdefault(anchor, []).append(rule)
    return list(anchors.items())


_FOLDED = _by_anchor()


def _by_ending() -> dict[str, list[Anchored]]:
    endings: dict[str, list[Anchored]] = {}
    for anchored in _LITERAL:
        if anchored not in _OTHERS:
            endings.setdefault(anchored[0][-3:], []).append(anchored)
    return endings


_ENDINGS = _by_ending()


def scan(
    text: str, known: Sequence[str] = (), *, start: int = 0, final: bool
) -> tuple[list[Span], int, Open | None]:
    """Find the secrets of ``text`` from ``start`` on.

    Args:
        known: texts that are secrets wherever they occur.
        final: nothing more will be added to the text.

    Returns:
        What is to be hidden, in order; up to where that is certain whatever is added; and what is not over yet.
    """
    spans: list[Span] = []
    at = start
    last: dict[str, Found] = {}
    for begin, rule in _candidates(text, known, start):
        if begin < at:
            continue
        if isinstance(rule, str):
            spans.append((begin, begin + len(rule)))
            at = begin + len(rule)
            continue
        found = rule.find(text, begin, last.get(rule.name))
        if found is None:
            continue
        last[rule.name] = found
        if not final and rule.unfinished(found):
            certain = found.end - found.begin > LONG
            if not certain or rule.hides(found):
                return spans, at, Open(begin, found.begin, found.run, certain, rule.waits)
        if text.startswith("⟦", found.begin) and PLACEHOLDER.fullmatch(found.body):
            at = found.begin
        elif rule.hides(found):
            spans.append((found.begin, found.end))
            at = found.end
        else:
            at = found.begin
    return spans, at, None if final else _beginning_of_known(text, known, at)


def _candidates(text: str, known: Sequence[str], start: int) -> list[tuple[int, Rule | str]]:
    """Return the places where a secret's prefix may begin, in order."""
    places: list[tuple[int, Rule | str]] = []
    for value in known:
        if value in text:
            places += ((place, value) for place in _places(text, value, start))
    for anchor, rule in _OTHERS:
        if anchor in text:
            places += ((place, rule) for place in _places(text, anchor, start))
    for mark in _MARK.finditer(text, start):
        end = mark.end()
        for anchor, rule in _ENDINGS.get(text[end - 3 : end], ()):
            begin = end - len(anchor)
            if begin >= start and text.startswith(anchor, begin):
                places.append((begin, rule))
    if _ASSIGNS.search(text):
        lowered = _lowered(text)
        for anchor, rules in _FOLDED:
            if anchor in lowered:
                places += ((place, rule) for place in _places(lowered, anchor, start) for rule in rules)
    if len(places) > 1:
        places.sort(key=lambda each: each[0])
    return places


def _lowered(text: str) -> str:
    """Return ``text`` in small letters, each at its place: of some letters the small form is longer."""
    lowered = text.lower()
    if len(lowered) == len(text):
        return lowered
    return "".join(character.lower() if character.isascii() else character for character in text)


def _places(text: str, piece: str, start: int) -> Iterator[int]:
    place = text.find(piece, start)
    while place >= 0:
        yield place
        place = text.find(piece, place + 1)


def _beginning_of_known(text: str, known: Sequence[str], at: int) -> Open | None:
    """Return where the first text begins that would be one of ``known`` if it went on."""
    first = len(text)
    for value in known:
        for begin in _places(text, value[0], max(at, len(text) - len(value) + 1)):
            if begin >= first:
                break
            if value.startswith(text[begin:]):
                first = begin
    return Open(at, first) if first < len(text) else None
