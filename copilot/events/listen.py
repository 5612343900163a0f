"""Hearing hints: the messages of a group for as long as somebody wants them, whatever happens to the layer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from channels.layers import get_channel_layer

logger = logging.getLogger(__name__)

#: Seconds between two tries to join, and that leaving may take.
RETRY_SECONDS = 1.0
LEAVE_SECONDS = 1.0


async def listen(group: str, take: Callable[[dict[str, Any] | None], None]) -> None:
    """Hand each message of ``group`` to ``take`` until cancelled; a layer that fails is joined again.

    ``take(None)`` says that messages may have been missed: once joined, which is not instant, and on each failure.
    """
    layer: Any = get_channel_layer()  # the settings always name one
    channel = ""
    try:
        while True:
            try:
                # A channel is kept over failures: layers do not forget one that is given up.
                channel = channel or await layer.new_channel()
                await layer.group_add(group, channel)
                _raise_if_cancelled()
                take(None)
                while True:
                    # Never with a timeout: that would lose the subscription.
                    take(await layer.receive(channel))
            except Exception as error:  # noqa: BLE001 - whatever a layer raises; who listens reads the rows without it
                logger.debug("hints missed", extra={"action": "listener_lost", "error": repr(error)})
                take(None)
                _raise_if_cancelled()
                await asyncio.sleep(RETRY_SECONDS)
    finally:
        if channel:
            with suppress(Exception):
                await asyncio.wait_for(layer.group_discard(group, channel), LEAVE_SECONDS)


def _raise_if_cancelled() -> None:
    """Be cancelled after all: ``wait_for`` of Python 3.11, which redis-py connects with, may swallow that."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
