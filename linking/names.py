"""What people and places are called on a platform."""

from __future__ import annotations

import unicodedata

from linking.models.links import PLATFORM_NAME_MAX

#: Controls, and characters that turn or hide the ones beside them: a name must not pass for another on a page.
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
#: Invisible, but parts of words and of emoji.
_JOINERS = "\u200c\u200d"


def shown_name(name: str) -> str:
    """Return a name in one line, without what cannot be seen, and cut to what is kept."""
    visible = "".join(" " if _is_hidden(each) else each for each in name)
    line = " ".join(visible.split())[:PLATFORM_NAME_MAX]
    return line if line.strip(_JOINERS + " ") else ""


def _is_hidden(character: str) -> bool:
    return character not in _JOINERS and unicodedata.category(character) in _HIDDEN


def called(name: str, platform_id: str) -> str:
    """Return what a person or place is shown as: its name, or its id when nobody told its name."""
    return name or platform_id
