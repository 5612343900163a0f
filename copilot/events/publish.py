"""Hints to whoever listens right now. They may be lost or doubled: everything is read from rows again.

Channel layers belong to an event loop. Each process names its loop once (``set_loop``); ``publish`` may then be
called from any thread. Sending to the in-memory layer from another thread would arrive seconds late.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from channels.layers import get_channel_layer

from common.metrics import events_hints_lost
from copilot.events.schema import Chunk

logger = logging.getLogger(__name__)

WORKERS = "workers"
#: Apart, because workers of the version before take whatever ``WORKERS`` hears for a stop.
INTERRUPTS = "interrupts"
#: A group that nobody joins.
NOBODY = "nobody"

#: Hints that wait for the layer; more than this are dropped, readers find the rows anyway.
QUEUE_MAX = 10_000
SEND_SECONDS = 2.0

Hint = tuple[str, dict[str, Any]]

_loop: asyncio.AbstractEventLoop | None = None
_queue: deque[Hint] = deque(maxlen=QUEUE_MAX)
_sender: asyncio.Task[None] | None = None
_passing = True


def turn_group(turn_id: object) -> str:
    """The group that a turn's events are sent to."""
    return f"turn.{turn_id}"


def session_group(session_id: object) -> str:
    """The group that hears of changes to a session."""
    return f"session.{session_id}"


def user_group(user_id: object) -> str:
    """The group that hears of changes to any of a person's sessions."""
    return f"user.{user_id}"


def set_loop(loop: asyncio.AbstractEventLoop | None) -> None:
    """Name the loop on which this process talks to its channel layer."""
    global _loop
    _loop = loop


def publish_events(turn_id: object, events: Sequence[tuple[int | None, Chunk]], since: float = 0.0) -> None:
    """Send committed events (or transient chunks, without a seq) to a turn's followers.

    Args:
        since: when the first of them was made, by this host's clock; 0: nobody asks.
    """
    _send([_turn_hint(turn_id, events, since)])


def publish_many(
    turns: Iterable[tuple[object, Sequence[tuple[int | None, Chunk]], float]], *, on_sent: Callable[[float], None]
) -> None:
    """Send the events of many turns in one hop to the loop, each with when its first was made.

    Args:
        on_sent: told, on the loop, how many seconds the hop took: how late the loop runs.
    """
    _send([_turn_hint(turn_id, events, since) for turn_id, events, since in turns], on_sent)


def session_changed(session_id: object, user_id: object) -> None:
    """Say that a session has a new revision."""
    message = {"type": "session.changed", "session": str(session_id)}
    _send([(session_group(session_id), message), (user_group(user_id), message)])


def stop_requested(turn_id: object) -> None:
    """Tell every worker process that somebody asked to stop this turn."""
    _send([(WORKERS, {"type": "stop.requested", "turn": str(turn_id)})])


def interrupted(turn_id: object, message_id: object) -> None:
    """Tell every worker process that the turn's running step is to be cut short for a message."""
    _send([(INTERRUPTS, {"type": "turn.interrupted", "turn": str(turn_id), "message": str(message_id)})])


def knock() -> None:
    """Send a hint to nobody, so that ``passing`` tells how things are now."""
    _send([(NOBODY, {"type": "knock"})])


def passing() -> bool:
    """Whether the last hint of this process could be sent."""
    return _passing


def _turn_hint(turn_id: object, events: Sequence[tuple[int | None, Chunk]], since: float) -> Hint:
    message = {"type": "turn.events", "turn": str(turn_id), "events": list(events), "since": since}
    return turn_group(turn_id), message


def _send(hints: list[Hint], on_sent: Callable[[float], None] | None = None) -> None:
    loop = _loop
    if loop is None or loop.is_closed():
        return  # a management command: followers find the rows by themselves
    try:
        loop.call_soon_threadsafe(_enqueue, hints, time.monotonic(), on_sent)
    except RuntimeError:
        return  # the loop closed meanwhile: this process is going down


def _enqueue(hints: list[Hint], sent_at: float, on_sent: Callable[[float], None] | None) -> None:
    global _sender
    if on_sent is not None:
        on_sent(time.monotonic() - sent_at)
    _queue.extend(hints)
    if _sender is None or _sender.done():
        _sender = asyncio.get_running_loop().create_task(_send_queue())


async def _send_queue() -> None:
    global _passing
    layer: Any = get_channel_layer()  # the settings always name one
    while _queue:
        group, message = _queue.popleft()
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await layer.group_send(group, message)
            _passing = True
        except Exception as error:  # noqa: BLE001 - whatever a layer raises: lost hints heal by themselves
            logger.debug(
                "hints lost", extra={"action": "hints_lost", "count": len(_queue) + 1, "error": repr(error)}
            )
            events_hints_lost.inc(len(_queue) + 1)
            _queue.clear()
            _passing = False
