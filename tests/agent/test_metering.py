"""How fast an answer comes: told now and then to those who listen, and kept nowhere."""

from __future__ import annotations

from typing import Any

import pytest

from common.db import db
from copilot.agent import metering
from copilot.agent.metering import EVERY_SECONDS, FIRST_SECONDS, Meter
from copilot.events.follow import Event, follow
from tests.factories import kinds_of, make_session
from tests.harness import Crew


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(metering, "time", clock)
    return clock


def test_figures_are_tokens_in_the_time_since_the_first_delta(clock: Clock) -> None:
    sent: list[dict[str, Any]] = []
    meter = Meter(sent.append)
    meter.count("x" * 40)
    assert sent == [], "there is no speed yet"
    clock.now += FIRST_SECONDS
    meter.count("x" * 40)
    figures = {"tps": 200.0, "output_tokens": 20, "estimated": True}
    assert sent == [{"type": "data-metering", "data": figures, "transient": True}]


def test_they_are_few_however_many_deltas_there_are(clock: Clock) -> None:
    sent: list[dict[str, Any]] = []
    meter = Meter(sent.append)
    for _ in range(1001):
        meter.count("word")
        clock.now += 0.01
    assert len(sent) == pytest.approx(10 / EVERY_SECONDS, abs=1)
    assert EVERY_SECONDS >= 0.1
    assert FIRST_SECONDS >= 0.1


def test_there_are_fewer_when_much_is_going_on(clock: Clock) -> None:
    def figures(slack: float) -> int:
        sent: list[dict[str, Any]] = []
        meter = Meter(sent.append)
        meter.pause = lambda: slack
        for _ in range(1000):
            meter.count("word")
            clock.now += 0.01
        return len(sent)

    assert figures(0.12) * 3 < figures(0.0)


@pytest.mark.django_db(transaction=True)
async def test_followers_get_them_and_no_row_has_them(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metering, "FIRST_SECONDS", 0.01)
    monkeypatch.setattr(metering, "EVERY_SECONDS", 0.01)
    await crew.hire()
    turn = await crew.send("/words 10 50", await db(make_session))
    events = [item async for item in follow(turn.id) if isinstance(item, Event)]
    told = [item for item in events if item.chunk["type"] == "data-metering"]
    assert told
    assert {item.seq for item in told} == {None}
    assert all(item.chunk["data"].keys() == {"tps", "output_tokens", "estimated"} for item in told)
    assert "data-metering" not in await db(kinds_of, turn)
