"""How many messages wait in the broker. It may be gone, and whoever asks must not wait for it for long."""

from __future__ import annotations

import contextlib
from typing import Any

from celery import current_app
from django.conf import settings
from kombu.exceptions import ChannelError, KombuError

from copilot.turns.dispatch import runs_here

#: Celery's own name for the queue of those that name none.
QUEUE = "celery"


class Unreachable(Exception):
    """The broker does not answer; the cause says why."""


def queue_depth(*, patience: float) -> int | None:
    """Return how many messages wait for a worker; None when nobody knows.

    Args:
        patience: seconds that connecting and the answer may take, each.
    """
    try:
        if not settings.EMBEDDED:
            return depth_in_redis(patience=patience)
        return _depth_in_memory() if runs_here() else None  # another process has a memory of its own
    except Unreachable:
        return None


def depth_in_redis(*, patience: float) -> int:
    """Return how many messages wait in the broker of the scaled-out stack.

    Raises:
        Unreachable: it does not answer within ``patience`` seconds, or it refuses.
    """
    import redis  # the embedded stack does without
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    try:
        # The client's own retries would make a dead server a matter of many seconds.
        with contextlib.closing(
            redis.Redis.from_url(
                settings.REDIS_URL,
                socket_timeout=patience,
                socket_connect_timeout=patience,
                retry=Retry(NoBackoff(), 0),
            )
        ) as client:
            waiting: Any = client.llen(QUEUE)
    except (redis.RedisError, OSError, ValueError) as error:
        raise Unreachable from error
    return int(waiting)


def _depth_in_memory() -> int:
    try:
        with current_app.connection_for_read() as connection:
            channel: Any = connection.default_channel
            return int(channel.queue_declare(QUEUE, passive=True).message_count)
    except ChannelError:
        return 0  # nobody has put anything there yet
    except (KombuError, OSError) as error:
        raise Unreachable from error
