"""What is shown of a call's arguments while the model still writes them."""

from __future__ import annotations

from common.redaction_names import NAME_PIECES
from common.redaction_stream import StreamRedactor


class ShownInput:
    """Says of growing JSON what may be shown of it.

    Whole arguments are redacted with their structure (``redact_json``); of a part only the text is known. So from
    the first sign of a secret that only the structure tells, nothing more is shown until the arguments are whole:
    a name such as ``password``, a ``value`` whose name may come behind it, or an escape that could spell anything.
    """

    __slots__ = ("_redactor", "_silent", "_tail")

    def __init__(self) -> None:
        self._redactor = StreamRedactor()
        self._silent = False
        self._tail = ""

    def feed(self, delta: str) -> str:
        """Add to the text; return what may be shown now."""
        if self._silent:
            return ""
        recent = (self._tail + delta).lower()
        if "\\u" in recent or '"value"' in recent or any(piece in recent for piece in NAME_PIECES):
            self._silent = True
            return ""
        self._tail = recent[-32:]
        return self._redactor.feed(delta)
