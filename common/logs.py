"""One line a log record, with the fields that were bound to it."""

from __future__ import annotations

import logging

_STANDARD = set(logging.LogRecord("", 0, "", 0, "", (), None).__dict__) | {"message", "asctime", "taskName"}


class LineFormatter(logging.Formatter):
    """``time level logger message key=value …``; the fields are those passed as ``extra``."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        line = super().formatMessage(record)
        fields = {key: value for key, value in record.__dict__.items() if key not in _STANDARD}
        return line + "".join(f" {key}={value}" for key, value in fields.items())
