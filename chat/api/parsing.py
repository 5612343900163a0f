"""What comes in: JSON bodies and query parameters. Whatever is wrong with them is said, and is never a bug."""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

from django.http import HttpRequest, QueryDict
from rest_framework import serializers

from common.errors import AppError, Invalid, TooLarge
from common.text import storable

#: Bytes of a body. The longest message fits several times, even with every character escaped.
BODY_MAX = 2 * 1024 * 1024
#: The largest value of a ``seq``.
SEQ_MAX = 2**31 - 1
#: Seconds that a call may wait for something to happen.
WAIT_MAX = 25.0
LIMIT_MAX = 100
_WORDS = {"true": True, "1": True, "false": False, "0": False}


def read_body(
    body: type[serializers.Serializer[Any]], request: HttpRequest, *, partial: bool = False
) -> dict[str, Any]:
    """Read a request's JSON object and check it against ``body``; an empty body is an empty object.

    Raises:
        Invalid: malformed, not an object, unknown fields (``unknown_field``), wrong types.
        TooLarge: over ``BODY_MAX`` bytes.
    """
    raw = request.read(BODY_MAX + 1)
    if not raw:
        return check(body, {}, partial=partial)
    if len(raw) > BODY_MAX:
        raise TooLarge(f"The request is larger than {BODY_MAX // 1024:,} KiB.")
    if request.content_type != "application/json":
        raise Invalid("Send the body as JSON, with the header 'Content-Type: application/json'.")
    return check(body, load_json(raw), partial=partial)


def check(body: type[serializers.Serializer[Any]], value: Any, *, partial: bool = False) -> dict[str, Any]:
    """Check a decoded JSON value against ``body`` and return its fields; what was left out stays out.

    Raises:
        Invalid: as for ``read_body``; ``fields`` names what is wrong with which field.
    """
    if not isinstance(value, dict):
        raise Invalid("The body must be a JSON object.")
    serializer = body(data=value, partial=partial)
    try:
        serializer.is_valid(raise_exception=True)
    except serializers.ValidationError as error:
        raise invalid(_flat(error.detail)) from error
    return dict(serializer.validated_data)


def load_json(raw: bytes) -> Any:
    """Decode JSON in UTF-8, as RFC 8259 has it: no NaN, no lone surrogates.

    Raises:
        Invalid: it is something else.
    """
    try:
        value = json.loads(raw.decode(), parse_constant=_refuse)
        if b"\\ud" in raw.lower():
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise Invalid("The body is not valid JSON.") from error
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def invalid(fields: dict[str, str], *, code: str = "invalid") -> AppError:
    """Return the error that says what is wrong with which field; the first becomes the sentence."""
    name, problem = next(iter(fields.items()))
    error = Invalid(f"{name}: {problem}" if name else problem, code=code)
    # Not as keywords: the names may come from outside.
    error.fields = {name: problem for name, problem in fields.items() if name}
    return error


def unknown_fields(names: set[Any]) -> AppError:
    """Return the error for fields that the call does not have."""
    shown = sorted(storable(str(name))[:100] for name in names)[:10]
    return invalid(dict.fromkeys(shown, "There is no such field here."), code="unknown_field")


def _flat(detail: Any, path: str = "") -> dict[str, str]:
    """Turn nested validation errors into one sentence a path."""
    if isinstance(detail, dict):
        flat: dict[str, str] = {}
        for key, value in detail.items():
            inner = path if key == "non_field_errors" else f"{path}.{key}".lstrip(".")
            flat |= _flat(value, inner)
        return flat
    first = detail[0] if isinstance(detail, list) else detail
    return {path: str(first)}


# --- query parameters --------------------------------------------------------------------------


def number(
    query: QueryDict, name: str, *, default: int | None = None, least: int = 0, most: int = SEQ_MAX
) -> int | None:
    """Return a whole number from the query string.

    Raises:
        Invalid: not a number, or not within ``least`` and ``most``.
    """
    raw = query.get(name, "")
    if raw == "":
        return default
    # The length first: converting thousands of digits is slow and then refused by Python itself.
    if not re.fullmatch(r"[0-9]{1,12}", raw) or not least <= int(raw) <= most:
        raise invalid({name: f"must be a whole number from {least} to {most}."})
    return int(raw)


def seconds_to_wait(query: QueryDict) -> float:
    """Return the seconds of ``wait``, 0 without it; more than ``WAIT_MAX`` waits as long as is allowed.

    Raises:
        Invalid: not a number, or negative.
    """
    raw = query.get("wait", "") or "0"
    try:
        wait = float(raw[:40])
    except ValueError:
        wait = math.nan
    if not wait >= 0:  # also refuses "nan"
        raise invalid({"wait": f"must be a number of seconds from 0 to {WAIT_MAX:g}."})
    return min(wait, WAIT_MAX)


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
