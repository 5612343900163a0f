"""A process's share of the work: it claims turns, runs them on one event loop, and keeps their leases.

The loop is the server's own in ``manage.py up``, and a thread of its own in a Celery worker. The heartbeat has an
OS thread and a connection of its own, so a turn that keeps the loop busy does not cost the others their lease.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import socket
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import CancelledError, Future
from typing import Any

from django.conf import settings
from django.db import DatabaseError

from common.alive import report_alive
from common.db import db, db_steady, release_connections
from common.faults import reach
from common.loops import new_event_loop
from common.metrics import claim_lag_seconds, loop_lag_seconds
from common.tracing import span, traceparent
from common.trail import follow_trail
from common.version import VERSION
from copilot.agent.live import LiveTurn
from copilot.agent.loop import Leave, run_turn
from copilot.diagnostics import storage
from copilot.events import publish
from copilot.events.listen import listen
from copilot.events.log import StaleTurn
from copilot.events.writer import LogWriter
from copilot.mcp import client as mcp
from copilot.providers.base import ProviderError
from copilot.providers.registry import preload
from copilot.providers.transport import close_clients
from copilot.sweep import Sweeper
from copilot.turns import leases
from copilot.turns.claim import Claim, claim_waiting
from copilot.turns.dispatch import set_runner
from copilot.turns.finish import Ending, cancelled, failed
from copilot.turns.lending import lend_slot
from copilot.turns.progress import StopRequested
from copilot.turns.sessions import forget_deleted_turn

logger = logging.getLogger(__name__)

#: Seconds that running tools get to end when the process stops, and the whole stop may take.
LEAVE_TOOLS_SECONDS = 8.0
LEAVE_SECONDS = 9.5
#: Seconds for which a turn on probation has the process for itself.
ALONE_SECONDS = 5.0
#: Seconds between two looks for stop requests while hints do not pass: nobody waits for the heartbeat.
LOOK_SECONDS = 0.15


class Worker:
    """Runs turns until it is told to stop. Start and stop it once."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, slots: int) -> None:
        self.id = uuid.uuid4()
        self.loop = loop
        self.slots = slots
        self.stopping = False
        self.live: dict[uuid.UUID, LiveTurn] = {}
        self.writer = LogWriter()
        self._sweeper = Sweeper()
        self._ended = threading.Event()
        self._pong = time.monotonic()
        self._lag = 0.0
        self._listeners: list[asyncio.Task[None]] = []
        #: Who waits for a turn to run, and the task that claims for them.
        self._wanted: deque[asyncio.Future[Claim | None]] = deque()
        self._claiming: asyncio.Task[None] | None = None
        self._running: set[asyncio.Future[None]] = set()
        #: What is done beside the turns; nothing is lost with it.
        self._beside: set[asyncio.Task[Any]] = set()
        #: A turn on probation runs, or is about to: nothing else is admitted.
        self._alone = False
        self._heart = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    # --- life ------------------------------------------------------------------------------

    def start(self) -> None:
        """Register, and begin to keep leases, to sweep and to listen for stop requests. From any thread."""
        storage.write_probe(self.id)
        leases.register(self.id, host=socket.gethostname(), pid=os.getpid(), version=VERSION, slots=self.slots)
        release_connections()  # the thread that starts a worker needs none afterwards
        publish.set_loop(self.loop)
        set_runner(self.run_soon)
        preload()
        self.writer.start()
        self._heart.start()
        self._sweeper.start()
        self.loop.call_soon_threadsafe(self._start_listening)
        self.loop.call_soon_threadsafe(mcp.start)

    def _start_listening(self) -> None:
        groups = (publish.WORKERS, publish.INTERRUPTS)
        self._listeners = [self.loop.create_task(listen(group, self._hear)) for group in groups]

    async def stop(self) -> None:
        """Admit nothing more and hand back every turn, in less than ten seconds. On the loop."""
        self.stopping = True
        set_runner(None)
        for doing in list(self._beside):
            doing.cancel()
        sweeping = asyncio.create_task(asyncio.to_thread(self._sweeper.stop))
        for live in list(self.live.values()):
            if not live.in_tools:
                live.interrupt("leave")
            elif not live.cause:
                live.leaving = True
                self.loop.call_later(LEAVE_TOOLS_SECONDS, live.interrupt, "leave")
        if self._running:
            await asyncio.wait(set(self._running), timeout=LEAVE_SECONDS)
        await sweeping
        for listener in self._listeners:
            listener.cancel()
        self._ended.set()
        await asyncio.to_thread(self._heart.join, 2)
        await asyncio.to_thread(self.writer.stop)
        await asyncio.gather(close_clients(), mcp.close())
        with contextlib.suppress(DatabaseError):
            await db(leases.unregister, self.id)
        storage.remove_probe(self.id)

    # --- turns -----------------------------------------------------------------------------

    def run_next(self) -> None:
        """Claim one waiting turn and run it to its end; returns when it has ended. From a task's thread."""
        if self.stopping:
            return
        asyncio.run_coroutine_threadsafe(self.run_one(), self.loop).result()

    def run_soon(self, count: int) -> None:
        """Claim and run up to ``count`` waiting turns without a message of the broker. From any thread."""
        for _ in range(min(count, self.slots - self._busy)):
            if not self.stopping:
                asyncio.run_coroutine_threadsafe(self.run_one(), self.loop)

    def run_beside(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do something that is no turn's, to its end or that of the process. From a task's thread."""
        if not self.stopping:
            with contextlib.suppress(CancelledError):
                self.begin_beside(work).result()

    def begin_beside(self, work: Callable[[], Coroutine[Any, Any, None]]) -> Future[None]:
        """Begin something that is no turn's. From any thread but the loop's."""
        return asyncio.run_coroutine_threadsafe(self._do_beside(work), self.loop)

    async def _do_beside(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        doing = asyncio.current_task()
        if doing is None or self.stopping:
            return
        self._beside.add(doing)
        try:
            await work()
        finally:
            self._beside.discard(doing)

    async def run_one(self) -> None:
        """Like ``run_next``, on the loop."""
        done: asyncio.Future[None] = self.loop.create_future()
        self._running.add(done)
        try:
            with follow_trail():  # not that of whoever happened to tell of a turn
                if claim := await self._claim():
                    await self._hold(claim)
        finally:
            self._running.discard(done)
            done.set_result(None)

    async def _hold(self, claim: Claim) -> None:
        """Run a turn that was claimed to its end."""
        reach("turn_claimed")
        claim_lag_seconds.observe(claim.waited)
        if lost := self.live.get(claim.turn_id):
            lost.interrupt("stale")  # this process had lost the turn and has not noticed yet
        live = self.live[claim.turn_id] = LiveTurn(claim, self.writer)
        live.lend = functools.partial(self._lend, live)
        try:
            with self._alone_with(claim), _trail_of(claim):
                await self._run(live)
        finally:
            if self.live.get(claim.turn_id) is live:
                del self.live[claim.turn_id]

    async def _lend(self, parent: LiveTurn, session_id: uuid.UUID) -> None:
        """Run what waits in a child session of ``parent`` here, in its slot, while it does nothing but wait."""
        room = not (self.stopping or self._alone) and self._busy < self.slots
        if claim := await db(lend_slot, self.id, parent.claim, session_id, run=room):
            run = self.loop.create_task(self._hold(claim))
            self._running.add(run)
            run.add_done_callback(self._running.discard)

    @property
    def _busy(self) -> int:
        """Turns that take up a slot."""
        return sum(not live.waits for live in list(self.live.values()))

    @contextlib.contextmanager
    def _alone_with(self, claim: Claim) -> Iterator[None]:
        """Admit nothing beside a turn on probation, for a while: what it does to a process it does early."""
        if not claim.alone:
            yield
            return
        self._alone = True
        later = self.loop.call_later(ALONE_SECONDS, self._admit_again)
        try:
            yield
        finally:
            later.cancel()
            self._admit_again()

    def _admit_again(self) -> None:
        if self._alone:
            self._alone = False
            self.run_soon(self.slots)  # who came meanwhile was sent away

    async def _claim(self) -> Claim | None:
        """Claim a turn, together with all others who want one: a burst costs little more than a single turn."""
        claim: asyncio.Future[Claim | None] = self.loop.create_future()
        self._wanted.append(claim)
        if self._claiming is None or self._claiming.done():
            self._claiming = self.loop.create_task(self._claim_wanted())
        return await claim

    async def _claim_wanted(self) -> None:
        handed_out = False
        while self._wanted:
            asked = len(self._wanted)
            claims: list[Claim] = []
            problem: Exception | None = None
            try:
                if not (self.stopping or self._alone):
                    idle = not (self.live or handed_out)
                    claims = await db(claim_waiting, self.id, asked, idle=idle, pool="claim")
            except Exception as error:  # noqa: BLE001 - whatever it is, it is theirs who wanted one
                problem = error
            # Who gets none asks again, unless nobody gets any: then there was nothing. Who came meanwhile was told
            # of a turn that this look may have missed.
            nothing = not claims
            while self._wanted and (claims or (nothing and asked)):
                waiting = self._wanted.popleft()
                asked -= 1
                if waiting.done():
                    continue
                if problem is not None:
                    waiting.set_exception(problem)
                elif claims:
                    claim = claims.pop(0)
                    self._alone, handed_out = claim.alone, True
                    waiting.set_result(claim)
                else:
                    waiting.set_result(None)

    async def _run(self, live: LiveTurn) -> None:
        """Run a turn and see it off, whatever happens to it."""
        ids = {"turn_id": live.id, "session_id": live.claim.session_id, "fence": live.claim.fence}
        logger.info("turn claimed", extra={"action": "turn_claimed", **ids})
        task = live.task = self.loop.create_task(run_turn(live))
        if self.stopping:
            live.interrupt("leave")
        try:
            ending = await self._outcome(live, task)
            if ending is not None:
                await live.end(ending)
        except StaleTurn:
            logger.info("turn is held by somebody else", extra={"action": "turn_stale", **ids})
            await live.log.close()
            await db_steady(forget_deleted_turn, live.id, live.claim.session_id)
        except Exception:
            # Nothing more can be done here: the lease runs out and another worker goes on from the rows.
            logger.exception("turn could not be settled", extra={"action": "turn_unsettled", **ids})
            await live.log.close()
        else:
            logger.info("turn left", extra={"action": "turn_left", **ids})

    async def _outcome(self, live: LiveTurn, task: asyncio.Task[None]) -> Ending | None:
        """Wait for the turn's task; return how the turn is to end where the task did not end it itself."""
        try:
            await task
        except asyncio.CancelledError:
            if live.cause == "stop":
                return cancelled(live.stop_reason)
            if live.cause == "stale":
                raise StaleTurn from None
            if live.cause != "leave":
                return self._failed(live)
            await live.leave()
        except Leave:
            await live.leave()
        except StopRequested:
            return cancelled(live.stop_reason)
        except ProviderError as error:
            return failed(error.code, error.detail, hint=error.hint, retryable=error.transient)
        except StaleTurn:
            raise
        except Exception:  # noqa: BLE001 - a bug fails this turn, not the worker
            return self._failed(live)
        return None

    @staticmethod
    def _failed(live: LiveTurn) -> Ending:
        logger.exception("turn failed", extra={"action": "turn_failed", "turn_id": live.id})  # noqa: LOG004 - in handlers
        return failed(
            "unknown",
            "Something went wrong inside the server.",
            hint="The operator finds the details in the log.",
            retryable=True,
        )

    # --- what people want -------------------------------------------------------------------

    def _hear(self, message: dict[str, Any] | None) -> None:
        """Stop or interrupt a turn at once; the heartbeat hears of the same request a little later."""
        if message is None or message["type"] not in ("stop.requested", "turn.interrupted"):
            return  # processes of another version may say other things
        live = self.live.get(uuid.UUID(message["turn"]))
        if live is None:
            return
        if message["type"] == "stop.requested":
            live.interrupt("stop")
        else:
            live.cut_step(uuid.UUID(message["message"]))

    # --- heartbeat --------------------------------------------------------------------------

    def _beat(self) -> None:
        """Renew the leases, but only while the loop answers: a hung loop must lose its turns."""
        while not self._until_next_beat():
            asked = time.monotonic()
            self.loop.call_soon_threadsafe(self._answer, asked)
            if asked - self._pong > settings.TURN_LEASE_SECONDS:
                logger.error("event loop does not answer", extra={"action": "loop_stuck"})
                continue
            if not settings.EMBEDDED:
                report_alive()
            try:
                self._renew()
            except Exception as error:  # noqa: BLE001 - whatever it is, a heart that stops loses every turn
                logger.warning("heartbeat failed", extra={"action": "heartbeat_failed", "error": repr(error)})
            finally:
                release_connections()

    def _until_next_beat(self) -> bool:
        """Wait; look for what people want if no hint would tell. Return whether the last beat is over."""
        publish.knock()
        due = time.monotonic() + settings.TURN_HEARTBEAT_SECONDS
        while (left := due - time.monotonic()) > 0:
            if self._ended.wait(min(left, LOOK_SECONDS)):
                return True
            if not publish.passing() and self.live:
                self._look_for_wishes()
        return self._ended.is_set()

    def _look_for_wishes(self) -> None:
        try:
            self._heed(leases.wishes(self.id, list(self.live)))
        except Exception as error:  # noqa: BLE001 - as above: the next look or beat finds them
            logger.debug("no look for wishes", extra={"action": "wish_look_failed", "error": repr(error)})
        finally:
            release_connections()

    def _heed(self, wishes: dict[uuid.UUID, leases.Wish]) -> None:
        """Do what people want of the turns that run here."""
        for turn_id, wish in wishes.items():
            live = self.live.get(turn_id)
            if live is not None and wish.stop_reason:
                self.loop.call_soon_threadsafe(live.interrupt, "stop", wish.stop_reason)
            elif live is not None and wish.interrupt_id:
                self.loop.call_soon_threadsafe(live.cut_step, wish.interrupt_id)

    def _answer(self, asked: float) -> None:
        self._pong = time.monotonic()
        self._lag = self._pong - asked
        loop_lag_seconds.observe(self._lag)

    def _renew(self) -> None:
        live = list(self.live.values())
        progressed = [turn.id for turn in live if turn.progressed]
        for turn in live:
            turn.progressed = False
        held = leases.renew(
            self.id,
            progressed=progressed,
            live=[turn.id for turn in live],
            loop_lag_ms=int(self._lag * 1000),
            stopping=self.stopping,
        )
        for turn in live:
            if turn.id not in held:
                self.loop.call_soon_threadsafe(turn.interrupt, "stale")  # taken over, or deleted
        self._heed(held)


@contextlib.contextmanager
def _trail_of(claim: Claim) -> Iterator[None]:
    """What runs in here goes on with the request that submitted the turn."""
    ids = {"turn_id": str(claim.turn_id), "session_id": str(claim.session_id)}
    with span("turn", parent=claim.trail.get("traceparent", ""), fence=claim.fence, **ids):
        with follow_trail(**{**claim.trail, "traceparent": traceparent()}, **ids):
            yield


_current: Worker | None = None


def set_current(worker: Worker | None) -> None:
    """Name this process's worker."""
    global _current
    _current = worker


def current() -> Worker | None:
    """This process's worker, if it has one."""
    return _current


class LoopThread:
    """An event loop in a thread of its own, for a process whose main thread does something else."""

    def __init__(self) -> None:
        self.loop = new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="turns", daemon=True)
        self._thread.start()

    def call(self, coroutine: Any, seconds: float) -> None:
        """Run a coroutine on the loop and wait for it, ``seconds`` at most."""
        asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(seconds)

    def close(self) -> None:
        """Stop the loop."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(2)
