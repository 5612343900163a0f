"""The brokers of hints, Redis and memory: a lost message costs a second or two, because the rows know the turn."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from queue import Empty
from typing import Any

from kombu.transport import memory, redis


class RedisChannel(redis.Channel):
    """A channel that keeps no account of messages under way, neither in Redis nor over a lost connection.

    Putting them back when the connection is gone, or acknowledging one on it later, ends the worker process
    (``'NoneType' object has no attribute 'hostname'``), with all that it runs.
    """

    ack_emulation = False
    do_restore = False


class RedisTransport(redis.Transport):
    """The transport of ``REDIS_URL``."""

    Channel = RedisChannel


#: Something was put into a queue, or there is room for one message more.
_stirred = threading.Event()
#: Seconds of the longest sleep. Only one thread of a process consumes; a second one would look this often.
_SLEEP_MAX = 1.0


def _stirring(method: Callable[..., Any]) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return method(*args, **kwargs)
        finally:
            _stirred.set()

    return run


class MemoryChannel(memory.Channel):
    """A channel that wakes the consumer."""

    _put = _stirring(memory.Channel._put)
    _put_fanout = _stirring(memory.Channel._put_fanout)
    basic_ack = _stirring(memory.Channel.basic_ack)
    basic_reject = _stirring(memory.Channel.basic_reject)


class MemoryTransport(memory.Transport):
    """Delivers a message when it comes. The library's own looks for one again and again."""

    Channel = MemoryChannel

    def drain_events(self, connection: Any, timeout: float | None = None, **_: Any) -> None:
        """Deliver one message; wait for it up to ``timeout`` seconds.

        Raises:
            TimeoutError: none came.
        """
        assert self.cycle is not None  # noqa: S101 - the constructor made it
        until = time.monotonic() + (float("inf") if timeout is None else timeout)
        while True:
            _stirred.clear()
            try:
                self.cycle.get(self._deliver, timeout=timeout)
            except Empty:
                left = until - time.monotonic()
            else:
                return
            if left <= 0:
                raise TimeoutError
            _stirred.wait(min(left, _SLEEP_MAX))
