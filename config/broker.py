"""Redis as a broker of hints: a message that is lost costs a second or two, because the rows know of the turn."""

from __future__ import annotations

from kombu.transport import redis


class Channel(redis.Channel):
    """A channel that keeps no account of messages under way, neither in Redis nor over a lost connection.

    Putting them back when the connection is gone, or acknowledging one on it later, ends the worker process
    (``'NoneType' object has no attribute 'hostname'``), with all that it runs.
    """

    ack_emulation = False
    do_restore = False


class Transport(redis.Transport):
    """The transport of ``REDIS_URL``."""

    Channel = Channel
