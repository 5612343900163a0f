"""No line of the log carries a secret, wherever in the record it stands."""

from __future__ import annotations

import logging
import sys
from typing import Any

import pytest
from pytest_django import Settings

from common.logs import HidesTokens, LineFormatter, hide_tokens_of_servers

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
        ("/login/?next=%2Flink%2F{}", "/login/?next=%2Flink%2F…"),
        ("/login/?next=%2flink/{}&x", "/login/?next=%2flink/…&x"),
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


def test_what_the_server_writes_about_requests_shows_neither_tokens_nor_keys() -> None:
    logger = logging.getLogger("uvicorn.access")
    token, key = "a" * 43, "hfb_" + "b" * 43
    paths = [f"/link/{token}", f"/login/{token}/", f"/api/v1/link-tokens/{token}/confirm", f"/s/{token}"]
    paths += [f"/api/v1/me?key={key}"]
    seen: list[str] = []

    class Keeps(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            # As uvicorn's own formatter reads it.
            client, method, path, version, status = record.args  # type: ignore[misc]
            seen.append(f"{client} {method} {path} {version} {status} {record.getMessage()}")

    handler, level = Keeps(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)

    def write() -> None:
        for path in paths:
            logger.info('%s - "%s %s HTTP/%s" %d', "127.0.0.1:5", "GET", path, "1.1", 200)

    filters = list(logger.filters)
    try:
        logger.filters.clear()
        write()  # the control
        hide_tokens_of_servers()
        hide_tokens_of_servers()
        write()
    finally:
        logger.filters[:] = filters
        logger.removeHandler(handler)
        logger.setLevel(level)
    as_it_was, hidden = seen[: len(paths)], seen[len(paths) :]
    assert all(token in line or key in line for line in as_it_was)
    assert not any(token in line or key in line for line in hidden)
    assert "/link/…" in hidden[0]


def test_the_application_sees_to_that() -> None:
    import config.asgi  # noqa: F401 - what a server imports

    assert any(isinstance(each, HidesTokens) for each in logging.getLogger("uvicorn.access").filters)
