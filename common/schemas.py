"""Checking the arguments of a tool call against the tool's JSON Schema, which may be somebody else's."""

from __future__ import annotations

import functools
import json
import re
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import jsonschema
import referencing.exceptions
import referencing.jsonschema

from common.redaction import redact_json

#: Seconds for one look, where a schema refers to its own parts: each can double the time that the next one takes.
SECONDS_MAX = 2.0
#: Characters of what was given that are quoted.
QUOTED_MAX = 1000

_until: ContextVar[float] = ContextVar("until")


class _TooLong(Exception):
    """The look is over before its end."""


_UNUSABLE = (
    _TooLong,
    re.error,
    referencing.exceptions.Unresolvable,
    jsonschema.exceptions.UnknownType,
    RecursionError,
)


def problem_of(arguments: Any, schema: dict[str, Any], *, hides: bool = False) -> tuple[str, str] | None:
    """Return where ``arguments`` do not fit ``schema``, and why, in words that may be shown; None: they fit.

    The place is empty when it is all of them. Nothing is fetched: a schema that refers to other addresses, is
    broken or takes too long accepts nothing. Blocks for some seconds at most; call it in a thread.

    Args:
        hides: something in the arguments is a secret, whatever they look like.
    """
    _ = _until.set(time.monotonic() + SECONDS_MAX)
    try:
        found = jsonschema.exceptions.best_match(_validator(schema).iter_errors(arguments))
    except _UNUSABLE:
        return "", "The tool's schema cannot be used, so nothing fits it."
    if found is None:
        return None
    where = ".".join(str(piece) for piece in found.absolute_path)
    if hides or len(found.message) > QUOTED_MAX or redact_json(arguments).hidden:
        # The message quotes what was given, all of it, without the name that tells that it is a secret.
        return where, f"does not fit {found.validator}: {json.dumps(found.validator_value, ensure_ascii=False)}"
    return where, found.message


def _validator(schema: dict[str, Any]) -> Any:
    known = _bounded(jsonschema.validators.validator_for(schema))
    return known(schema, registry=referencing.jsonschema.EMPTY_REGISTRY)


@functools.cache
def _bounded(known: Any) -> Any:
    """Return a validator that looks at nothing which may take for ever: patterns, and the search for duplicates.

    A pattern of somebody else's can keep a thread busy for hours, and so can references. Those are only timed.
    """
    others = known.VALIDATORS["additionalProperties"]

    def additional(validator: Any, allowed: Any, instance: Any, schema: Any) -> Any:
        return None if "patternProperties" in schema else others(validator, allowed, instance, schema)

    unchecked = dict.fromkeys(("pattern", "patternProperties", "uniqueItems"), lambda *_: None)
    references = {
        name: _timed(known.VALIDATORS[name])
        for name in ("$ref", "$dynamicRef", "$recursiveRef")
        if name in known.VALIDATORS
    }
    return jsonschema.validators.extend(known, {**unchecked, **references, "additionalProperties": additional})


def _timed(check: Callable[..., Any]) -> Callable[..., Iterator[Any]]:
    """Return a check of a reference that gives up when the time is over."""

    def timed(validator: Any, reference: Any, instance: Any, schema: Any) -> Iterator[Any]:
        if time.monotonic() > _until.get():
            raise _TooLong
        yield from check(validator, reference, instance, schema) or ()

    return timed
