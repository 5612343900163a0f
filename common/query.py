"""Query parameters. Whatever is wrong with them is said, and is never a bug."""

from __future__ import annotations

from django.http import QueryDict

from common.errors import invalid

_WORDS = {"true": True, "1": True, "false": False, "0": False}


def flag(query: QueryDict, name: str) -> bool:
    """Return a yes or no from the query string, no without it.

    Raises:
        Invalid: some other word.
    """
    raw = query.get(name, "").lower()
    if raw and raw not in _WORDS:
        raise invalid({name: "must be true or false."})
    return _WORDS.get(raw, False)


def words(query: QueryDict, name: str, *, most: int = 200) -> str:
    """Return a text from the query string, without blanks around it.

    Raises:
        Invalid: too long, or it holds a NUL character, which no database compares.
    """
    raw = query.get(name, "").strip()
    if len(raw) > most or "\x00" in raw:
        raise invalid({name: f"must be a text of at most {most} characters."})
    return raw
