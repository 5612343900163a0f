"""One line a log record, with the fields that were bound to it and without secrets."""

from __future__ import annotations

import logging
import re

from common.redaction import redact_text

_STANDARD = set(logging.LogRecord("", 0, "", 0, "", (), None).__dict__) | {"message", "asctime", "taskName"}
#: Single-use and share tokens in paths, also in those that stand in a query; personal and bot keys anywhere.
_TOKEN = re.compile(r"((?:/|%2f)(?:login|link|link-tokens|s)(?:/|%2f))[\w-]{16,}", re.IGNORECASE)
_KEY = re.compile(r"\b(hfb?_)[\w-]{20,}")


class LineFormatter(logging.Formatter):
    """``time level logger message key=value …``; the fields are those passed as ``extra``.

    What is written passes the redaction as a whole: message, arguments, fields and tracebacks.
    """

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        line = super().formatMessage(record)
        fields = {key: value for key, value in record.__dict__.items() if key not in _STANDARD}
        return line + "".join(f" {key}={value}" for key, value in fields.items())

    def format(self, record: logging.LogRecord) -> str:
        return redact_text(_without_tokens(super().format(record)))


def _without_tokens(text: str) -> str:
    return _KEY.sub(r"\1…", _TOKEN.sub(r"\1…", text))


class HidesTokens(logging.Filter):
    """Takes tokens and keys out of the arguments of records that others format, as a server's access log is."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record through, changed."""
        if isinstance(record.args, tuple):
            record.args = tuple(_without_tokens(each) if isinstance(each, str) else each for each in record.args)
        return True


def hide_tokens_of_servers() -> None:
    """Have the lines that uvicorn writes about requests show no token that is in a path, and no key in a query."""
    for name in ("uvicorn.access", "uvicorn.error"):
        logger = logging.getLogger(name)
        if not any(isinstance(each, HidesTokens) for each in logger.filters):
            logger.addFilter(HidesTokens())
