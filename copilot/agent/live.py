"""A turn that this process holds: its claim, its end of the log, and why it may have to stop."""

from __future__ import annotations

import asyncio
import functools
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Literal

from common.db import db_steady
from common.faults import reach
from common.metrics import first_chunk_seconds
from copilot.events import schema
from copilot.events.writer import Appender, LogWriter
from copilot.turns import progress
from copilot.turns.children import stop_children
from copilot.turns.claim import Claim
from copilot.turns.finish import Ending, finish_held
from copilot.turns.followups import Delivery
from copilot.turns.pause import Asked, pause_turn
from copilot.turns.recover import hand_back

#: Why the turn's task was cancelled from outside.
Cause = Literal["", "stop", "stale", "leave"]


async def _keep(session_id: uuid.UUID) -> None:
    """Lend no slot: the turn runs without a worker."""


class Interrupted(Exception):
    """The running step was cut short: somebody sent a message that the model is to read first."""


class LiveTurn:
    """The handle that the agent loop works through. Every write of it stands behind the claim's fence."""

    def __init__(self, claim: Claim, writer: LogWriter) -> None:
        self.claim = claim
        self.log = Appender(writer, claim.turn_id, claim.seq)
        self.log.on_stale = functools.partial(self.interrupt, "stale")
        self.cause: Cause = ""
        self.stop_reason = "stopped"
        self.title = ""
        #: The model that took over from the one that was asked for, once it has said something.
        self.answered_by = ""
        self.first_chunk_ms: int | None = None
        #: How much of the model's window the latest call took.
        self.context: progress.ContextUse | None = None
        self.task: asyncio.Task[None] | None = None
        #: Tools are running: leaving waits for them a little.
        self.in_tools = False
        #: The process stops: hand back as soon as the running tools have ended.
        self.leaving = False
        #: Something happened since the last heartbeat.
        self.progressed = False
        #: Events up to here belong to committed rows; a repeated step takes back what follows.
        self.sealed = 0
        self._parts = 0
        #: Messages that the running step is to be cut short for, and those of which any word now comes too late.
        self.wanted: set[uuid.UUID] = set()
        self.delivered: set[uuid.UUID] = set()
        self._step: asyncio.Timeout | None = None
        #: Calls that wait for a child; while there are any, the turn takes up no slot.
        self.waits = 0
        #: Has the process run what waits in a session in this turn's slot, while that waits for it.
        self.lend: Callable[[uuid.UUID], Awaitable[None]] = _keep
        #: It asked for turns in child sessions, which end with it.
        self.has_children = False

    @property
    def id(self) -> uuid.UUID:
        return self.claim.turn_id

    def interrupt(self, cause: Cause, reason: str = "") -> None:
        """Cancel the turn's task, once; the first cause counts. Call on the loop."""
        if self.cause or self.task is None:
            return
        self.cause = cause
        self.stop_reason = reason or self.stop_reason
        self.task.cancel()

    @property
    def interrupted(self) -> bool:
        """Whether a message waits that the step is to be cut short for."""
        return not self.wanted <= self.delivered

    def cut_step(self, message_id: uuid.UUID) -> None:
        """Cut the running step short for a message, or the next one before it begins. Call on the loop."""
        self.wanted.add(message_id)
        if self.interrupted and self._step is not None and not self._step.expired():
            self._step.reschedule(0)

    @asynccontextmanager
    async def step(self) -> AsyncIterator[None]:
        """What happens in here is cut short for a message that interrupts.

        Raises:
            Interrupted: it was. A stop that comes at the same time goes first.
        """
        if self.interrupted:
            raise Interrupted
        try:
            async with asyncio.timeout(None) as self._step:
                yield
        except TimeoutError as error:
            if self._step is None or not self._step.expired():
                raise
            raise Interrupted from error
        finally:
            self._step = None

    def emit(self, chunk: schema.Chunk) -> None:
        """Have a chunk stored and sent soon."""
        self.progressed = True
        self.log.append(chunk)

    def send_transient(self, chunk: schema.Chunk) -> None:
        """Have a chunk sent to whoever listens right now; it is not stored."""
        self.log.send_transient(chunk)

    def new_part(self, kind: str) -> str:
        """Return an id for a part of the stream, unique within the turn."""
        self._parts += 1
        return f"{kind[0]}{self.claim.fence}.{self._parts}"

    def note_first_chunk(self, created_at: datetime) -> None:
        """Remember how long the person waited for the first sign of an answer."""
        if self.first_chunk_ms is None:
            self.first_chunk_ms = max(0, int((datetime.now(UTC) - created_at).total_seconds() * 1000))
            first_chunk_seconds.observe(self.first_chunk_ms / 1000)

    async def commit(self, write: Callable[..., Any], *, last: bool = False, **arguments: Any) -> Any:
        """Run one of the engine's fenced writes in one transaction with the deltas before it.

        A write that seals the events before it returns the seq up to which it does. Returns what the write does.
        """
        self.progressed = True
        return await self.log.commit(
            lambda batch: write(batch, turn_id=self.claim.turn_id, fence=self.claim.fence, **arguments),
            last=last,
            landed=self._landed,
        )

    def _landed(self, result: Any) -> None:
        """Take note of a commit in its own thread: whoever waits for it may be cut short meanwhile."""
        if isinstance(result, Delivery):
            self.sealed = result.sealed
            self.delivered |= {message.id for message in result.messages}
        elif isinstance(result, int):
            self.sealed = result

    async def end(self, ending: Ending, *, step: progress.FinishedStep | None = None) -> None:
        """End the turn, with its last step if there is one, in one transaction."""
        reach("turn_ends")
        ending = replace(
            ending, first_chunk_ms=self.first_chunk_ms, model=self.answered_by or None, context=self.context
        )
        await self.commit(
            finish_held, last=True, session_id=self.claim.session_id, ending=ending, step=step, title=self.title
        )
        reach("turn_ended")
        if self.has_children:
            await db_steady(stop_children, self.id)

    async def pause(self, asked: Asked) -> None:
        """Wait for a person; nothing of the turn stays here."""
        await self.commit(
            pause_turn,
            last=True,
            session_id=self.claim.session_id,
            asked=asked,
            title=self.title,
            first_chunk_ms=self.first_chunk_ms,
        )

    async def leave(self) -> None:
        """Hand the turn back to the queue because this process stops."""
        await self.commit(hand_back, last=True, session_id=self.claim.session_id)
