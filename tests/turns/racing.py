"""Two at once, with the interleaving forced, and guards that can be taken away.

Fixtures, imported by the conftest of this folder: ``between``, ``no_locks`` and ``no_fence``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import nullcontext, suppress
from typing import Any

import pytest
from django.db import DEFAULT_DB_ALIAS, connections

from common import db as database
from copilot.events.log import last_seq
from copilot.models import Message, Turn
from copilot.models.session import SessionQuerySet
from copilot.models.turn import TurnQuerySet
from tests.factories import Holder, events_of

guarded = pytest.mark.parametrize("guarded", [pytest.param(True, id="guarded"), pytest.param(False, id="control")])
#: How long one side waits for another that the guard may be keeping out.
PATIENCE = 0.5


def race(*acts: Callable[[], Any]) -> list[Any]:
    """Run all at once, each in a thread with connections of its own; return results or exceptions."""
    barrier = threading.Barrier(len(acts), timeout=10)
    outcomes: list[Any] = [None] * len(acts)

    def run(place: int, act: Callable[[], Any]) -> None:
        try:
            barrier.wait()
            outcomes[place] = act()
        except Exception as error:  # noqa: BLE001 - it is the outcome
            outcomes[place] = error
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=each) for each in enumerate(acts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    return outcomes


class Between:
    """Stops one side between looking and acting until the other side has acted."""

    def __init__(self) -> None:
        self._looked, self._acted = threading.Event(), threading.Event()

    def after(self, look: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap what the first side does to look."""

        def run(*args: Any, **kwargs: Any) -> Any:
            found = look(*args, **kwargs)
            if not self._looked.is_set():
                self._looked.set()
                self._acted.wait(PATIENCE)
            return found

        return run

    def before(self, look: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap what the first side does to act."""

        def run(*args: Any, **kwargs: Any) -> Any:
            self._looked.set()
            self._acted.wait(PATIENCE)
            return look(*args, **kwargs)

        return run

    def other(self, act: Callable[[], Any]) -> Callable[[], Any]:
        """Wrap what the second side does."""

        def run() -> Any:
            assert self._looked.wait(10)
            try:
                return act()
            finally:
                self._acted.set()

        return run


@pytest.fixture
def between() -> Between:
    """Keeps the two sides of this test apart."""
    return Between()


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return a function that takes transactions and the session lock away: each statement stands alone."""

    def remove() -> None:
        monkeypatch.setattr(database, "_transaction", nullcontext)
        for rows in (SessionQuerySet, TurnQuerySet):
            monkeypatch.setattr(rows, "locked", lambda self: self)
        build_queries_anew(monkeypatch)

    return remove


@pytest.fixture
def no_fence(monkeypatch: pytest.MonkeyPatch) -> Callable[[Holder], None]:
    """Return a function that lets a worker finish as whoever holds the turn now, wherever the log has come to."""

    def remove(holder: Holder) -> None:
        monkeypatch.setattr(TurnQuerySet, "held_by", lambda self, turn_id, fence: self.filter(pk=turn_id))
        build_queries_anew(monkeypatch)
        finish = holder.finish

        def as_current(*args: Any) -> Any:
            holder.seq = last_seq(holder.claim.turn_id)
            return finish(*args)

        monkeypatch.setattr(holder, "finish", as_current)

    return remove


def build_queries_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """For this test: those that the connection knows were built with the guard. Other threads have none yet."""
    monkeypatch.setattr(connections[DEFAULT_DB_ALIAS], "prepared_queries", {}, raising=False)


def terminal_events(turn: Turn) -> list[str]:
    """Return the types of the chunks that end the turn; there must be one at most."""
    return [chunk["type"] for _, chunk in events_of(turn) if chunk["type"] in ("finish", "error", "abort")]


def stranded() -> bool:
    """Whether a message waits, not held, where nothing runs."""
    live = Turn.objects.live().values("session")
    return Message.objects.filter(state="queued", held=False).exclude(session__in=live).exists()


def meet(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> None:
    """Have two threads that call this function both return from it before either goes on."""
    barrier = threading.Barrier(2)
    original = getattr(module, name)

    def met(*args: Any, **kwargs: Any) -> Any:
        found = original(*args, **kwargs)
        with suppress(threading.BrokenBarrierError):
            barrier.wait(PATIENCE)
        return found

    monkeypatch.setattr(module, name, met)
