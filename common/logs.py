"""One line a log record, for people or for programs, with the fields that were bound to it and without secrets."""

from __future__ import annotations

import json
import logging
import re
from datetime import UTC, datetime
from math import isfinite
from typing import Any

from common.redaction import redact_json, redact_text
from common.trail import trail

_STANDARD = set(logging.LogRecord("", 0, "", 0, "", (), None).__dict__) | {"message", "asctime", "taskName"}
#: Single-use and share tokens in paths, also in those that stand in a query; personal and bot keys anywhere.
_TOKEN = re.compile(r"((?:/|%2f)(?:login|link|link-tokens|s)(?:/|%2f))[\w-]{16,}", re.IGNORECASE)
_KEY = re.compile(r"\b(hfb?_)[\w-]{20,}")


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """Return what is bound to a record: the trail of the request behind it, and what was passed as ``extra``."""
    own = {key: value for key, value in record.__dict__.items() if key not in _STANDARD}
    return {**trail(), **own}


class LineFormatter(logging.Formatter):
    """``time level logger message key=value …``; the fields are those of ``fields_of``.

    What is written passes the redaction as a whole: message, arguments, fields and tracebacks.
    """

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        line = super().formatMessage(record)
        return line + "".join(f" {key}={value}" for key, value in fields_of(record).items())

    def format(self, record: logging.LogRecord) -> str:
        return redact_text(without_tokens(super().format(record)))


class JsonFormatter(logging.Formatter):
    """A JSON object a line: ``time level logger message``, the fields of ``fields_of``, and ``traceback``.

    Each text in it passes the redaction; the object stays what it is.
    """

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {key: _plain(value) for key, value in fields_of(record).items() if key not in line}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = self.formatStack(record.stack_info)
        return json.dumps(redact_json(_each_text(line)).shown, ensure_ascii=False)


def _plain(value: object) -> object:
    """Return a field as JSON holds it: numbers and flags as they are, anything else in words."""
    finite = isinstance(value, int) or (isinstance(value, float) and isfinite(value))
    return value if finite or value is None else str(value)


def _each_text(line: dict[str, Any]) -> dict[str, Any]:
    return {key: without_tokens(value) if isinstance(value, str) else value for key, value in line.items()}


def without_tokens(text: str) -> str:
    """Return ``text`` without the tokens that are in paths, and without keys."""
    return _KEY.sub(r"\1…", _TOKEN.sub(r"\1…", text))


class HidesTokens(logging.Filter):
    """Takes tokens and keys out of the arguments of records that others format, as a server's access log is."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record through, changed."""
        if isinstance(record.args, tuple):
            record.args = tuple(without_tokens(each) if isinstance(each, str) else each for each in record.args)
        return True


def hide_tokens_of_servers() -> None:
    """Have the lines that uvicorn writes about requests show no token that is in a path, and no key in a query."""
    for name in ("uvicorn.access", "uvicorn.error"):
        logger = logging.getLogger(name)
        if not any(isinstance(each, HidesTokens) for each in logger.filters):
            logger.addFilter(HidesTokens())


def write_json_for_servers() -> None:
    """Have uvicorn, where it writes lines of its own, write JSON as we do."""
    for name in ("uvicorn", "uvicorn.access", "uvicorn.error"):
        for handler in logging.getLogger(name).handlers:
            handler.setFormatter(JsonFormatter())
