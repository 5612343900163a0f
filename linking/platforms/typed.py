"""Commands that people type as text, on platforms that do not tell them apart everywhere."""

from __future__ import annotations

import re

from linking.platforms.conversation import COMMANDS

#: Commands that are also known without a slash, if nothing else was written.
BARE = frozenset({"stop", "link", "unlink", "help"})
_TYPED = re.compile(r"/([a-z]+)(?:\s+|$)", re.IGNORECASE)


def read_typed(text: str) -> tuple[str, str]:
    """Return the command that a message begins with, or an empty string, and the rest of it."""
    text = text.strip()
    if text.lower() in BARE:
        return text.lower(), ""
    found = _TYPED.match(text)
    if found and found[1].lower() in COMMANDS:
        return found[1].lower(), text[found.end() :].strip()
    return "", text
