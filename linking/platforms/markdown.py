"""Putting what others wrote into Markdown, so that it is shown and does nothing."""

from __future__ import annotations

import json
import unicodedata
from typing import Any


def plain(text: str) -> str:
    """Return a text that Markdown shows as it is."""
    return "".join(f"\\{each}" if each in "\\`*_{}[]()<>#+-.!|~" else each for each in text)


def exact(value: Any) -> str:
    """Return a JSON value in a form in which nothing can hide: no backticks that end a code block, and characters
    that are invisible or turn the direction of what follows as escapes."""
    text = json.dumps(value, ensure_ascii=False, indent=2)
    return "".join(each if each == "\n" or _is_plain(each) else _escaped(each) for each in text)


def _is_plain(each: str) -> bool:
    return each != "`" and unicodedata.category(each) not in ("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp")


def _escaped(each: str) -> str:
    units = each.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def code(name: str) -> str:
    """Return a short text as inline code."""
    return f"`{''.join(each if _is_plain(each) else '�' for each in name) or '�'}`"
