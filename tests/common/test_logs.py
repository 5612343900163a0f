"""No line of the log carries a secret, wherever in the record it stands."""

from __future__ import annotations

import logging
import sys
from typing import Any

import pytest
from pytest_django import Settings

from common.logs import LineFormatter

SECRET = "Zx8Qm2Lr5Tn7Vb1Wc4Yd"


def line(message: str, *arguments: Any, exc_info: Any = None, **extra: Any) -> str:
    record = logging.getLogger("x").makeRecord("x", logging.INFO, "", 0, message, arguments, exc_info, extra=extra)
    return LineFormatter().format(record)


def test_a_line_shows_message_and_fields() -> None:
    assert line("turn %s ended", 7, action="turn_ended").endswith(" INFO x turn 7 ended action=turn_ended")


def test_message_arguments_and_fields_are_redacted() -> None:
    found = line(f"password={SECRET} %s", f"Bearer {SECRET}", api_key=SECRET, url=f"redis://:{SECRET}@redis/0")

    assert SECRET[:8] not in found
    assert "api_key=⟦hidden:" in found


def test_a_traceback_is_redacted() -> None:
    try:
        raise ValueError(f"cannot log in with token={SECRET}")
    except ValueError:
        found = line("failed", exc_info=sys.exc_info())

    assert "ValueError: cannot log in with token=⟦hidden:" in found
    assert SECRET[:8] not in found


def test_the_servers_own_secrets_are_in_no_line(settings: Settings) -> None:
    settings.OPENAI_API_KEY = "a plain looking key"
    assert "plain looking" not in line("sent %r", {"Authorization": "a plain looking key"})


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/login/{}/", "/login/…/"),
        ("/link/{}", "/link/…"),
        ("/login/?next=/link/{}", "/login/?next=/link/…"),
        ("/api/v1/link-tokens/{}/confirm", "/api/v1/link-tokens/…/confirm"),
        ("/api/v1/bot/link-tokens/{}.", "/api/v1/bot/link-tokens/…."),
        ("/s/{}", "/s/…"),
    ],
)
def test_tokens_in_paths_are_hidden(path: str, shown: str) -> None:
    token = "mK2f_9Qw-" + "Ab3" * 11
    assert line("Not Found: %s", path.format(token)).endswith(f" Not Found: {shown}")


@pytest.mark.parametrize("prefix", ["hf_", "hfb_"])
def test_keys_are_hidden_wherever_they_stand(prefix: str) -> None:
    assert line(f"got {prefix}{SECRET}xyz", header=f"{prefix}{SECRET}").count(SECRET[:8]) == 0
