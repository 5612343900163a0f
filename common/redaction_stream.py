"""Redaction of a text that arrives piece by piece, each shown at once unless a secret may have begun in it."""

from __future__ import annotations

import re

from common.known_secrets import known_secrets
from common.redaction import placeholder_of
from common.redaction_scan import Open, Span, scan

#: When the caller asks for what has been held back so long that nothing may have come of it.
HOLD_SECONDS = 0.25

#: So many characters that were shown are still looked at: the longest prefix with the name before it.
_CONTEXT = 96
#: How far before a place the rules look.
_BEFORE = 48
#: Of what may become a secret fewer characters than this may be shown before that is certain.
_TELLING = 8
#: A piece without any of these completes no prefix: it is a word, a number, or blank.
_LOUD = re.compile(r"(?<! )[A-Z]|B|[\"#$%&()*+,\-./:;<=>@\[\\\]^_`{|}~]")
#: And words that complete one by themselves; they may come in pieces.
_WORDS = re.compile("bear|dapi")
#: But after these it may complete one.
_READY = re.compile(r"(?:AIz?|--[A-Za-z-]*|B[a-z]{0,5}|beare?)\Z")


class StreamRedactor:
    """Says of a growing text what may be shown of it.

    All that it returns, put together, is what ``redact_text`` makes of the whole text. Held back is only what
    stands behind a secret's public prefix: 256 characters at most, after which it is a secret, and not waited for.
    """

    __slots__ = ("_known", "_long", "_open", "_pieces", "_quiet", "_shown", "_start", "_text", "_wordless")

    def __init__(self) -> None:
        self._known = known_secrets()
        #: Whether no secret of the server's could arrive as mere words.
        self._wordless = all(_LOUD.search(value[:_TELLING]) for value in self._known)
        self._reset()

    def _reset(self) -> None:
        #: What was fed lately: up to ``_shown`` it was returned, up to ``_start`` it was decided about.
        self._text = ""
        self._shown = self._start = 0
        self._open: Open | None = None
        #: The secret that is so long that it is certain, as far as it has come.
        self._long: Open | None = None
        self._pieces: list[str] = []
        self._quiet = self._wordless

    @property
    def holds(self) -> bool:
        """Whether something is held back that ``lapse`` would return."""
        return self._shown < len(self._text) and not self._long and self._waiting() < _TELLING

    def feed(self, delta: str) -> str:
        """Add to the text; return what may be shown now."""
        self._text += delta
        if not self._quiet or _LOUD.search(delta) or _WORDS.search(self._text, max(0, self._shown - 3)):
            return self._advance(final=False)
        self._shown = len(self._text)
        if self._shown > 8 * _CONTEXT:
            self._forget()
        return delta

    def flush(self) -> str:
        """End the text; return the rest of what may be shown. What is fed next begins another text."""
        rest = self._advance(final=True)
        self._reset()
        return rest

    def lapse(self) -> str:
        """Return what was held back long enough; what is likely to be a secret stays until that is decided."""
        if not self.holds:
            return ""
        rest, self._shown = self._text[self._shown :], len(self._text)
        return rest

    def _waiting(self) -> int:
        return len(self._text) - self._open.begin if self._open else 0

    def _advance(self, *, final: bool) -> str:
        before = ""
        if self._long:
            if not self._long_ended(self._long, final=final):
                return ""
            before = self._end_long()
        spans, decided, opened = scan(self._text, self._known, start=self._start, final=final)
        shown = before + self._show(spans, opened.begin if opened else len(self._text))
        self._open, self._start = opened, opened.start if opened else decided
        if opened and opened.certain:
            self._long, self._text = opened, self._text[opened.begin :]
            _ = self._long_ended(opened, final=False)
        else:
            self._forget()
        self._quiet = self._wordless and not opened and not _READY.search(self._text[-24:])
        return shown

    def _show(self, spans: list[Span], limit: int) -> str:
        pieces = []
        for begin, end in spans:
            if end > self._shown:
                pieces += [self._text[self._shown : begin], placeholder_of(self._text[begin:end])]
                self._shown = end
        if limit > self._shown:
            pieces.append(self._text[self._shown : limit])
            self._shown = limit
        return "".join(pieces)

    def _long_ended(self, secret: Open, *, final: bool) -> bool:
        """Take from the text what belongs to the long secret; return whether anything else is there."""
        more = secret.run.match(self._text) if secret.run else None
        if more:
            self._pieces.append(more.group())
            self._text = self._text[more.end() :]
        waits = not self._text or (secret.waits and secret.waits.fullmatch(self._text))
        return final or not waits

    def _end_long(self) -> str:
        secret = "".join(self._pieces)
        self._long, self._pieces = None, []
        context = secret[-_BEFORE:]
        self._text = context + self._text
        self._start = self._shown = len(context)
        return placeholder_of(secret)

    def _forget(self) -> None:
        """Drop what no rule looks at any more."""
        oldest = max(self._start, len(self._text) - _CONTEXT)
        if self._open and self._open.run:
            oldest = self._open.start
        gone = oldest - _BEFORE
        if gone <= 0:
            return
        self._text = self._text[gone:]
        self._shown -= gone
        self._start = max(_BEFORE, self._start - gone)
        self._open = self._open.moved(-gone) if self._open else None
