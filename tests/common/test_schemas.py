"""Schemas may be somebody else's: a broken one accepts nothing, and none makes this server ask others."""

from __future__ import annotations

import urllib.request
from typing import Any

import pytest

from common.schemas import problem_of


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was asked of other servers."""
    asked: list[str] = []

    def ask(request: Any, *args: Any, **kwargs: Any) -> None:
        asked.append(request if isinstance(request, str) else request.full_url)
        raise OSError("no network here")

    monkeypatch.setattr(urllib.request, "urlopen", ask)
    return asked


def test_a_reference_to_another_address_is_not_fetched(fetched: list[str]) -> None:
    schema = {"properties": {"text": {"$ref": "http://192.0.2.1/schema.json"}}}
    assert problem_of({"text": "hello"}, schema) == ("", "The tool's schema cannot be used, so nothing fits it.")
    assert fetched == []


@pytest.mark.parametrize("broken", [{"type": "strange"}, {"$ref": "#/nowhere"}, {"$ref": "nowhere:else"}])
def test_a_broken_schema_accepts_nothing(broken: dict[str, str]) -> None:
    assert problem_of({"text": "hello"}, {"properties": {"text": broken}}) is not None


def test_a_reference_within_the_schema_is_followed() -> None:
    schema = {"$defs": {"short": {"maxLength": 3}}, "properties": {"text": {"$ref": "#/$defs/short"}}}
    assert problem_of({"text": "abc"}, schema) is None
    assert problem_of({"text": "hello"}, schema) == ("text", "'hello' is too long")


def test_a_problem_quotes_nothing_where_something_is_secret() -> None:
    schema = {"properties": {"password": {"minLength": 12}}}
    assert problem_of({"password": "hunter2"}, schema) == ("password", "does not fit minLength: 12")


def test_a_schema_that_doubles_its_own_work_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.schemas.SECONDS_MAX", 0.05)
    twice = {f"a{n}": {"anyOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(16)}
    schema = {"$defs": {**twice, "a16": {"type": "string"}}, "properties": {"text": {"$ref": "#/$defs/a0"}}}
    assert problem_of({"text": 1}, schema) == ("", "The tool's schema cannot be used, so nothing fits it.")
    assert problem_of({"text": "fits the first time"}, schema) is None


def test_a_problem_does_not_quote_what_is_long() -> None:
    schema = {"properties": {"text": {"maxLength": 3}}}
    assert problem_of({"text": "word " * 1000}, schema) == ("text", "does not fit maxLength: 3")
