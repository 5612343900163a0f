"""How a process of ``uvicorn --workers`` says that it will not start, however often it is tried."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

#: The status at which uvicorn's supervisor gives up. After any other it starts the process again, for ever.
STARTUP_FAILURE = 3


def finally_refused(start: Callable[[], T]) -> T:
    """Return what a part of the start returns; make its refusal final in a process that a supervisor started.

    Raises:
        SystemExit: the start was refused, and it was said why.
    """
    try:
        return start()
    except SystemExit as refusal:
        if multiprocessing.parent_process() is None:
            raise
        sys.stderr.write(f"{refusal}\n")
        raise SystemExit(STARTUP_FAILURE) from None
