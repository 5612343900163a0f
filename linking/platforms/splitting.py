"""Cutting a Markdown text into messages of a platform's length.

A text that grows is cut at the same places again, so that messages which were written stay as they are: where a
piece ends depends only on what fits into it.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate

#: A cut at a worse place is better than a message that is emptier than this part of its limit.
LEAST = 0.5

#: Longer marks open no code block here, and of longer first lines only the mark is repeated: each piece has it.
OPENER_MAX = 60
_FENCE = re.compile(r"^[ \t]*(`{3,60}|~{3,60}(?!~))[ \t]*([^`\n]*)$")
#: What must not be cut: code, links, emphasis. One that is open at the end of what fits runs to that end.
_SPAN = re.compile(
    r"(?P<tick>`+)(?!`).*?(?:(?<!`)(?P=tick)(?!`)|\Z)"
    r"|!?\[[^\]\n]*(?:\]\([^)\n]*(?:\)|\Z)|\]|\Z)"
    r"|(?P<mark>\*\*\*|\*\*|\*|~~|\|\||(?<!\w)__|(?<!\w)_)(?=\S)[^\n]*?(?:(?<=\S)(?P=mark)|\Z)"
    r"|<[^<>\s]*(?:>|\Z)"
    r"|https?://\S+",
    re.DOTALL,
)
_BLANK = re.compile(r"\n[ \t]*\n+")
_LINE = re.compile(r"\n")
_SENTENCE = re.compile(r"[.!?…\u3002\uff01\uff1f][\"')\]]*\s+")
_WORD = re.compile(r"\s+")
#: Stands for whatever comes behind what fits.
_MORE = "\ue000"
_JOINERS = {"\u200d", "\ufe0e", "\ufe0f", "\u20e3"}


def utf16(text: str) -> int:
    """Return the length in UTF-16 code units."""
    return len(text) + sum(1 for each in text if each > "\uffff")


@dataclass(frozen=True, slots=True)
class Size:
    """How much a message holds: ``limit`` in units of ``measure``, which adds up over characters."""

    limit: int
    measure: Callable[[str], int] = len


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a text: joined, the ``text`` of all pieces is the text.

    Attributes:
        before: opens the code block again in which it begins.
        after: closes the code block in which it ends.
    """

    text: str
    before: str = ""
    after: str = ""

    @property
    def shown(self) -> str:
        """The piece as a message: a whole Markdown text."""
        body = self.text if self.before else self.text.lstrip("\n")
        body = body if self.after else body.rstrip()
        return f"{self.before}{body}{self.after}"

    @property
    def is_blank(self) -> bool:
        """Whether there is nothing to see in it."""
        return not self.text.strip()


@dataclass(frozen=True, slots=True)
class _Block:
    """A code block: its first line, the mark that closes it, and where its lines are."""

    opener: str
    mark: str
    begins: int
    inside: int
    ends: int


def split(text: str, size: Size) -> list[Piece]:
    """Cut ``text`` into pieces whose ``shown`` fits ``size``; an empty text is no piece.

    Code blocks are closed and opened again with their language; inside emphasis, links and inline code it is cut
    only where nothing else is left, inside a character that is made of several never but for sheer length.
    """
    blocks = list(_blocks(text))
    pieces: list[Piece] = []
    at = 0
    while at < len(text):
        end = _end(text, at, blocks, size)
        pieces.append(_piece(text, at, end, blocks))
        at = end
    return pieces


def messages(text: str, size: Size) -> list[str]:
    """Return the pieces of a text as they are shown, without those that show nothing."""
    return [piece.shown for piece in split(text, size) if not piece.is_blank]


def _blocks(text: str) -> Iterator[_Block]:
    """Find the code blocks of a text; one that is never closed runs to the end."""
    opened: tuple[str, str, int, int] | None = None
    at = 0
    for line in text.split("\n") if "```" in text or "~~~" in text else ():
        after = min(at + len(line) + 1, len(text))
        found = _FENCE.match(line.rstrip("\r"))
        if opened is None and found:
            opener = line.rstrip("\r")
            opened = (opener if len(opener) <= OPENER_MAX else found[1], found[1], at, after)
        elif opened and found and found[1].startswith(opened[1]) and not found[2].strip():
            yield _Block(opened[0], opened[1], opened[2], opened[3], at + len(line))
            opened = None
        at = after
    if opened:
        yield _Block(*opened, len(text) + 1)


def _around(blocks: list[_Block], at: int) -> _Block | None:
    """Return the block that a cut at ``at`` would cut in two."""
    index = bisect_right(blocks, at, key=lambda block: block.begins) - 1
    found = blocks[index] if index >= 0 else None
    return found if found and found.begins < at < found.ends else None


def _piece(text: str, at: int, end: int, blocks: list[_Block]) -> Piece:
    first, last = _around(blocks, at), _around(blocks, end)
    body = text[at:end]
    before = f"{first.opener}\n" if first and at >= first.inside else ""
    after = ""
    if last and end >= last.inside:
        after = last.mark if body.endswith("\n") else f"\n{last.mark}"
    return Piece(body, before, after)


def _end(text: str, at: int, blocks: list[_Block], size: Size) -> int:
    """Return where the piece that begins at ``at`` ends."""
    first = _around(blocks, at)
    # Room to close a block is kept free everywhere: else a block that begins or ends late would move the cut.
    kept = size.measure("\n```")
    room = size.limit - kept - size.measure(f"{first.opener}\n" if first and at >= first.inside else "")
    # A character takes one unit at least; one more shows whether the rest fits.
    ahead = text[at : at + max(room, 1) + 1]
    costs = list(accumulate(map(size.measure, ahead), initial=0))

    def fits(end: int) -> bool:
        block = _around(blocks, end)
        closing = size.measure(f"\n{block.mark}") if block and end >= block.inside else 0
        return costs[end - at] + max(0, closing - kept) <= room

    furthest = min(at + bisect_right(costs, room) - 1, len(text))
    if furthest == len(text) and fits(furthest):
        return furthest
    return _best(text, (at, at + bisect_left(costs, room * LEAST), furthest), blocks, fits)


def _best(text: str, bounds: tuple[int, int, int], blocks: list[_Block], fits: Callable[[int], bool]) -> int:
    at, least, furthest = bounds
    window = text[at:furthest]
    spans = _uncuttable(window, at, blocks)
    edges = {block.inside for block in blocks}

    def good(end: int) -> bool:
        if not at < end <= furthest or not fits(end):
            return False
        block = _around(blocks, end)
        if block is None:
            return not any(begin < end < stop for begin, stop in spans)
        # Neither an empty block at the end of a message, nor one at the beginning of the next.
        closing = _FENCE.match(_line_at(text, end))
        return end > block.inside and end not in edges and not (closing and closing[1].startswith(block.mark))

    outside = [end for end in _ends(_LINE, window, at) if _around(blocks, end) is None]
    for ends in (
        _ends(_BLANK, window, at, outside=blocks),
        outside,
        _ends(_LINE, window, at),
        _ends(_SENTENCE, window, at),
        _ends(_WORD, window, at),
    ):
        if found := next((end for end in reversed(ends) if end >= least and good(end)), 0):
            return found
    whole = (end for end in range(furthest, at, -1) if good(end) and not _inside_character(text, end))
    anyhow = (end for end in range(furthest, at, -1) if fits(end) and not _inside_character(text, end))
    by_force = (end for end in range(furthest, at, -1) if fits(end))
    return next((end for ends in (whole, anyhow, by_force) for end in ends), max(furthest, at + 1))


def _ends(where: re.Pattern[str], window: str, at: int, outside: list[_Block] | None = None) -> list[int]:
    ends = [at + found.end() for found in where.finditer(window)]
    return [end for end in ends if _around(outside, end) is None] if outside else ends


def _uncuttable(window: str, at: int, blocks: list[_Block]) -> list[tuple[int, int]]:
    """Return the spans outside code blocks that a cut would break; what is open at the end goes on behind it."""
    found = []
    end = at + len(window) + 1
    window += _MORE
    begins = at
    for block in [*(each for each in blocks if each.ends > at and each.begins < end), None]:
        stop = max(begins, block.begins) if block else end
        for paragraph in re.finditer(r"(?:.+(?:\n|\Z))+", window[begins - at : stop - at]):
            for span in _SPAN.finditer(paragraph[0]):
                offset = begins + paragraph.start()
                found.append((offset + span.start(), offset + span.end()))
        if block:
            begins = min(block.ends, end)
    return found


def _line_at(text: str, at: int) -> str:
    stop = text.find("\n", at)
    return text[text.rfind("\n", 0, at) + 1 : stop if stop >= 0 else len(text)]


def _inside_character(text: str, at: int) -> bool:
    """Whether a cut would part what people see as one character: accents, skin tones, families, flags."""
    if not 0 < at < len(text):
        return False
    after, before = text[at], text[at - 1]
    if after in _JOINERS or before == "\u200d" or unicodedata.combining(after):
        return True
    if "\U0001f3fb" <= after <= "\U0001f3ff" or (before == "\r" and after == "\n"):
        return True
    if not ("\U0001f1e6" <= after <= "\U0001f1ff"):
        return False
    flags = 0
    while at - flags > 0 and "\U0001f1e6" <= text[at - flags - 1] <= "\U0001f1ff":
        flags += 1
    return flags % 2 == 1
