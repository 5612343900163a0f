"""Reading what a process says of itself: its metrics, as differences, and its lines, as objects."""

from __future__ import annotations

import io
import json
import logging
import re
from typing import Any

from common.logs import JsonFormatter
from common.metrics import REGISTRY

#: Our loggers: what other libraries write is not looked at here.
OURS = ("common", "approvals", "copilot", "chat", "linking", "config")
_NAME = re.compile(r"^(holdfast_\w+?)(?:\{|\s)", re.MULTILINE)


def names_in(text: str) -> set[str]:
    """Return the names of our samples in an exposition, without what histograms add to them."""
    return {re.sub(r"_(bucket|count|sum)$", "", name) for name in _NAME.findall(text)}


class Measured:
    """Samples of this process, counted from the moment at which this was made."""

    def __init__(self) -> None:
        self._before = self._read()

    @staticmethod
    def _read() -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in REGISTRY.collect()
            for sample in family.samples
        }

    def __call__(self, name: str, **labels: str) -> float:
        """Return by how much the samples of this name grew that have these labels, others beside them or not."""
        wanted = set(labels.items())
        return sum(
            value - self._before.get(key, 0.0)
            for key, value in self._read().items()
            if key[0] == f"holdfast_{name}" and wanted <= key[1]
        )


class Lines:
    """Lines of the log; a context manager."""

    def __init__(self) -> None:
        self._out = io.StringIO()
        self._handler = logging.StreamHandler(self._out)
        self._handler.setFormatter(JsonFormatter())

    @property
    def all(self) -> list[dict[str, Any]]:
        """What was written so far."""
        return [json.loads(line) for line in self._out.getvalue().splitlines()]

    def doing(self, action: str) -> list[dict[str, Any]]:
        """Return the lines of one action."""
        return [line for line in self.all if line.get("action") == action]

    def __enter__(self) -> Lines:
        self._levels = {name: logging.getLogger(name).level for name in OURS}
        for name in OURS:
            logging.getLogger(name).setLevel(logging.INFO)
            logging.getLogger(name).addHandler(self._handler)
        return self

    def __exit__(self, *exc: object) -> None:
        for name, level in self._levels.items():
            logging.getLogger(name).setLevel(level)
            logging.getLogger(name).removeHandler(self._handler)
