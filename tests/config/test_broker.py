"""The broker in memory delivers at once, and costs nothing while there is nothing to deliver."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kombu import Connection, Consumer, Queue

from config import broker
from config.broker import MemoryTransport


@pytest.fixture
def connection() -> Iterator[Connection]:
    with Connection("memory://", transport=MemoryTransport) as opened:
        yield opened
        MemoryTransport.Channel.queues.clear()


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the consumer slept, each time; it sleeps until it is woken."""
    slept: list[float] = []

    class Counted(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            slept.append(timeout or 0)
            return super().wait(10)

    monkeypatch.setattr(broker, "_stirred", Counted())
    return slept


def in_thread(work: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_a_message_wakes_the_consumer_that_waits(connection: Connection, looks: list[float]) -> None:
    got: list[Any] = []
    queue = Queue("words", channel=connection.channel())
    with Consumer(connection.channel(), [queue], callbacks=[lambda body, message: got.append(body)], no_ack=True):
        thread = in_thread(lambda: connection.drain_events(timeout=60))
        while not looks:
            thread.join(0.01)
        producer = connection.Producer()
        producer.publish("hello", routing_key="words")
        thread.join(10)
    assert got == ["hello"]
    assert len(looks) == 1, "it looked before anything came"


def test_nothing_comes_and_the_consumer_says_so(connection: Connection) -> None:
    with Consumer(connection.channel(), [Queue("words")]), pytest.raises(TimeoutError):
        connection.drain_events(timeout=0.01)


def test_a_free_slot_wakes_the_consumer_that_had_none(connection: Connection, looks: list[float]) -> None:
    held: list[Any] = []
    channel = connection.channel()
    with Consumer(
        channel, [Queue("words")], callbacks=[lambda _, message: held.append(message)], prefetch_count=1
    ):
        producer = connection.Producer()
        for word in ("one", "two"):
            producer.publish(word, routing_key="words")
        connection.drain_events(timeout=60)
        thread = in_thread(lambda: connection.drain_events(timeout=60))
        while not looks:
            thread.join(0.01)
        held[0].ack()
        thread.join(10)
    assert [message.payload for message in held] == ["one", "two"]
