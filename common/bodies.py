"""JSON bodies, of requests and of frames. Whatever is wrong with one is said, and is never a bug."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any, NoReturn

from django.http import HttpRequest
from rest_framework import serializers

from common.errors import AppError, Invalid, TooLarge, from_validation, invalid
from common.text import storable

#: Bytes of a body. The longest message fits several times, even with every character escaped.
BODY_MAX = 2 * 1024 * 1024
#: Lists and objects inside each other; what walks a value calls itself for each.
DEPTH_MAX = 100


def read_body(
    body: type[serializers.Serializer[Any]], request: HttpRequest, *, partial: bool = False
) -> dict[str, Any]:
    """Read a request's JSON object and check it against ``body``; an empty body is an empty object.

    Raises:
        Invalid: malformed, not an object, unknown fields (``unknown_field``), wrong types.
        TooLarge: over ``BODY_MAX`` bytes.
    """
    raw = read_raw(request, most=BODY_MAX)
    # A form may have been read by the CSRF check: nothing is left of it, and that must not pass for "no wishes".
    if not raw and request.content_type != "multipart/form-data":
        return check(body, {}, partial=partial)
    return check(body, decode(request, raw), partial=partial)


def read_raw(request: HttpRequest, *, most: int) -> bytes:
    """Return a request's body.

    Raises:
        TooLarge: over ``most`` bytes.
    """
    raw = request.read(most + 1)
    if len(raw) > most:
        raise TooLarge(f"The request is larger than {most // 1024:,} KiB.")
    return raw


def decode(request: HttpRequest, raw: bytes) -> Any:
    """Decode the body of a request that says that it is JSON.

    Raises:
        Invalid: it says something else, or is malformed.
    """
    if request.content_type != "application/json":
        raise Invalid("Send the body as JSON, with the header 'Content-Type: application/json'.")
    return load_json(raw)


def check(body: type[serializers.Serializer[Any]], value: Any, *, partial: bool = False) -> dict[str, Any]:
    """Check a decoded JSON value against ``body`` and return its fields; what was left out stays out.

    Raises:
        Invalid: as for ``read_body``; ``fields`` names what is wrong with which field.
    """
    if not isinstance(value, dict):
        raise Invalid("The body must be a JSON object.")
    try:
        return dict(_checker(body, partial).run_validation(value))
    except serializers.ValidationError as error:
        raise from_validation(error) from error


@functools.cache
def _checker(body: type[serializers.Serializer[Any]], partial: bool) -> serializers.Serializer[Any]:
    """One of each kind: making a serializer copies all its fields, checking a value does not change it."""
    return body(partial=partial)


def load_json(raw: bytes) -> Any:
    """Decode JSON in UTF-8, as RFC 8259 has it: no NaN, no lone surrogates, and no deeper than ``DEPTH_MAX``.

    Raises:
        Invalid: it is something else.
    """
    try:
        value = json.loads(raw.decode(), parse_constant=_refuse)
        if b"\\ud" in raw.lower():
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise Invalid("The body is not valid JSON.") from error
    if raw.count(b"[") + raw.count(b"{") > DEPTH_MAX and _is_too_deep(value):
        raise Invalid(f"The body is nested more than {DEPTH_MAX} deep.")
    return value


def _is_too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(DEPTH_MAX + 1):
        inside = [each for each in level if isinstance(each, dict | list)]
        if not inside:
            return False
        level = [item for each in inside for item in (each.values() if isinstance(each, dict) else each)]
    return True


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def unknown_fields(names: set[Any]) -> AppError:
    """Return the error for fields that the call does not have."""
    shown = sorted(storable(str(name))[:100] for name in names)[:10]
    return invalid(dict.fromkeys(shown, "There is no such field here."), code="unknown_field")


# --- what a body may hold ----------------------------------------------------------------------


class Text(serializers.CharField):
    """A string and nothing that could be turned into one; kept as it is, blanks included."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"trim_whitespace": False, "allow_blank": True, **kwargs})

    def to_internal_value(self, data: Any) -> str:
        """Return the string; numbers are refused."""
        if not isinstance(data, str):
            self.fail("invalid")
        return data


class Flag(serializers.BooleanField):
    """``true`` or ``false``, not a word or a number for it."""

    def to_internal_value(self, data: Any) -> bool:
        """Return the value itself."""
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


class Body(serializers.Serializer[Any]):
    """A JSON object in which an unknown field is an error: a mistyped name is told, not ignored.

    A field that is null counts as left out, except where null means something (``nullable``).
    """

    nullable: frozenset[str] = frozenset()

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        """Return the fields that were given.

        Raises:
            ValidationError: not an object.
            Invalid: unknown fields (``unknown_field``).
        """
        if not isinstance(data, Mapping):  # a nested one: the body itself was looked at before
            raise serializers.ValidationError("must be a JSON object.")
        if unknown := set(data) - set(self.fields):
            raise unknown_fields(unknown)
        given = {key: value for key, value in data.items() if value is not None or key in self.nullable}
        checked: dict[str, Any] = super().to_internal_value(given)
        return checked
