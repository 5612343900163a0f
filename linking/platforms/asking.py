"""Asking a platform's API: again where that helps, and reading what it answers."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from linking.platforms.base import PlatformError, TooFast, Unavailable

T = TypeVar("T")
logger = logging.getLogger(__name__)

#: Seconds between two tries when the platform failed or was not reached: the first time, and at most.
AGAIN_SECONDS, AGAIN_MAX = 0.5, 30.0


async def patiently(call: Callable[[], Awaitable[T]], patience: float) -> T:
    """Return what ``call`` does; try it again while the platform asks to wait, fails or is not reached.

    Args:
        patience: seconds after which no further try is begun; 0 is one try.

    Raises:
        TooFast, Unavailable: as the last try did.
        Refused: at once.
    """
    deadline, pause = time.monotonic() + patience, AGAIN_SECONDS
    while True:
        try:
            return await call()
        except TooFast as error:
            last: PlatformError = error
            seconds = error.seconds
        except Unavailable as error:
            last, seconds = error, pause
            pause = min(pause * 2, AGAIN_MAX)
            logger.info("a platform does not answer: %s", error, extra={"seconds": seconds})
        if time.monotonic() + seconds > deadline:
            raise last
        await asyncio.sleep(seconds)


def read_object(raw: bytes | str) -> dict[str, Any] | None:
    """Read a JSON object; None for everything else."""
    try:
        found = json.loads(raw)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def read_seconds(value: Any) -> float:
    """Read for how long a platform asks to wait; a second if it does not say."""
    try:
        return max(float(value or 1.0), 0.0)
    except (TypeError, ValueError):
        return 1.0
