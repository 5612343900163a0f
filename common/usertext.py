"""What people write, wherever they write it: one function looks at all of it before anything is stored."""

from __future__ import annotations

import functools
from collections.abc import Callable

from django.conf import settings
from django.utils.module_loading import import_string

from common.errors import AppError, Invalid
from common.text import storable

#: Says what is wrong with a text, in words for its writer; None: nothing.
Checker = Callable[[str], str | None]

_CONTROLS = dict.fromkeys([*range(0x20), *range(0x7F, 0xA0)])
for _kept in "\t\n\r\x85":
    del _CONTROLS[ord(_kept)]


def check_user_text(text: str, *, what: str, most: int, too_long: type[AppError] | None = None) -> str:
    """Return ``text`` as it may be stored: without control characters and what no database takes.

    Args:
        what: how the text is called, such as "The reason".
        most: characters that are accepted.
        too_long: the refusal of a longer one; ``refused_text`` unless given.

    Raises:
        Invalid: ``refused_text``: too long, or one of ``TEXT_CHECKERS`` refuses it. Nothing may be stored.
    """
    if len(text) > most:
        detail = f"{what} has {len(text):,} characters; at most {most:,} are accepted."
        raise too_long(detail) if too_long else Invalid(detail, code="refused_text")
    clean = without_controls(storable(text))
    for checker in _checkers(tuple(settings.TEXT_CHECKERS)):
        if problem := checker(clean):
            raise Invalid(problem, code="refused_text")
    return clean


def without_controls(text: str) -> str:
    """Return ``text`` without the control characters that no page shows; line ends and tabs stay."""
    return text if text.isprintable() else text.translate(_CONTROLS)


def checker_problems() -> list[str]:
    """Return what is wrong with ``TEXT_CHECKERS``, a sentence each."""
    problems = []
    for path in settings.TEXT_CHECKERS:
        try:
            import_string(path)
        except ImportError as error:
            problems.append(f"TEXT_CHECKERS names {path!r}, which cannot be imported: {error}.")
    return problems


@functools.cache
def _checkers(paths: tuple[str, ...]) -> list[Checker]:
    return [import_string(path) for path in paths]
