"""One URL says where mail goes; a bad one stops the start with one line."""

from __future__ import annotations

from typing import Any

import pytest

from config.env import BadSetting, Reader

SMTP = "django.core.mail.backends.smtp.EmailBackend"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            "smtp://mail.example.org:25",
            {"EMAIL_BACKEND": SMTP, "EMAIL_HOST": "mail.example.org", "EMAIL_PORT": 25},
        ),
        (
            "smtp+tls://ada:se%40cret@mail.example.org:587",
            {"EMAIL_HOST_USER": "ada", "EMAIL_HOST_PASSWORD": "se@cret", "EMAIL_PORT": 587, "EMAIL_USE_TLS": True},
        ),
        ("smtp+ssl://mail.example.org:465", {"EMAIL_USE_SSL": True}),
    ],
)
def test_a_url_becomes_settings(monkeypatch: pytest.MonkeyPatch, url: str, expected: dict[str, Any]) -> None:
    monkeypatch.setenv("EMAIL_URL", url)
    assert Reader().email("EMAIL_URL").items() >= expected.items()


def test_without_a_url_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMAIL_URL", "")
    assert Reader().email("EMAIL_URL") == {}


@pytest.mark.parametrize("url", ["mail.example.org", "http://mail.example.org", "smtp://mail.example.org:x"])
def test_a_bad_url_is_one_line_without_the_password(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("EMAIL_URL", url)
    with pytest.raises(BadSetting, match=r"^EMAIL_URL: expected a URL such as"):
        Reader().email("EMAIL_URL")
