"""System checks of how the processes are put together, and the one way to stop a start because of any check."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register, run_checks

from common.checks import TAG
from common.tracing import missing_packages
from common.usertext import checker_problems

logger = logging.getLogger(__name__)


@register(TAG)
def check_secret_key(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Several processes must have been given the same secret; the embedded server makes its own."""
    if settings.EMBEDDED or not settings.SECRET_KEY_MISSING:
        return []
    return [
        Error(
            "SECRET_KEY is not set: logins and sealed values of one process would be worthless to the others.",
            hint="Set SECRET_KEY to the same long random value for every web and worker process.",
            id="holdfast.E004",
        )
    ]


@register(TAG)
def check_text_checkers(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """What is to look at people's texts is there."""
    hint = "Correct TEXT_CHECKERS, or unset it."
    return [Error(problem, hint=hint, id="holdfast.E006") for problem in checker_problems()]


@register(TAG)
def check_database(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Processes that share a Redis should not share a SQLite file."""
    engine = settings.DATABASES["default"]["ENGINE"]
    if settings.EMBEDDED or not engine.endswith("sqlite3"):
        return []
    return [
        Warning(
            "REDIS_URL is set, but the database is SQLite: one writer at a time, and on one host only.",
            hint="Set DATABASE_URL to a PostgreSQL, or unset REDIS_URL to run the embedded server.",
            id="holdfast.W001",
        )
    ]


@register(TAG)
def check_debug(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Tracebacks are not shown to the public."""
    if not (settings.DEBUG and settings.BASE_URL.startswith("https://")):
        return []
    return [
        Warning(
            f"DEBUG is on, but BASE_URL is {settings.BASE_URL}: error pages show source code to anyone.",
            hint="Set DEBUG=false.",
            id="holdfast.W002",
        )
    ]


@register(TAG)
def check_redirect(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Who is sent to https arrives there."""
    if settings.BASE_URL.startswith("https://") or not settings.SECURE_SSL_REDIRECT:
        return []
    return [
        Error(
            "SSL_REDIRECT is on, but BASE_URL is no https address: X-Forwarded-Proto is not believed, and every "
            "request would be sent to https for ever.",
            hint="Set BASE_URL to the public https:// address, or SSL_REDIRECT=false.",
            id="holdfast.E020",
        )
    ]


@register(TAG)
def check_tracing(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """What sends spans is installed where spans are to be sent."""
    missing = missing_packages() if settings.OTEL_EXPORTER_OTLP_ENDPOINT else []
    if not missing:
        return []
    return [
        Error(
            f"OTEL_EXPORTER_OTLP_ENDPOINT is set, but {' and '.join(missing)} cannot be imported.",
            hint="Install it (pip install --require-hashes -r requirements-otel.txt), or unset the variable.",
            id="holdfast.E030",
        )
    ]


def require_sound_settings(tags: Sequence[str] | None = None) -> None:
    """Stop the start when a system check fails, with a line for each problem; log warnings.

    Args:
        tags: only checks with one of these tags; all of them otherwise.
    """
    found = [message for message in run_checks(tags=tags) if not message.is_silenced()]
    found.sort(key=lambda message: str(message.id))
    for message in found:
        if not message.is_serious():
            logger.warning(sentence(message), extra={"action": "check_warning"})
    if errors := [message for message in found if message.is_serious()]:
        raise SystemExit("\n".join(f"{message.id}: {sentence(message)}" for message in errors))


def sentence(message: CheckMessage) -> str:
    """Return what a check found and how to mend it, as one line."""
    where = f" ({message.obj})" if message.obj else ""
    return " ".join(f"{message.msg}{where} {message.hint or ''}".split())
