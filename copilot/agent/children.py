"""What a running call does with a child session: it sends, waits, and shows on its card how the child is doing."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from contextlib import aclosing
from typing import Any

from django.conf import settings
from django.db import DatabaseError, InterfaceError

from common.db import db_steady
from common.errors import AppError, Busy
from common.faults import reach
from copilot.agent.live import LiveTurn
from copilot.events import schema
from copilot.events.fold import standing
from copilot.events.follow import Event, follow
from copilot.events.log import StaleTurn, read_events
from copilot.tools.base import ToolError
from copilot.turns import children
from copilot.turns.children import ChildRefused, Prompt
from copilot.turns.lending import take_slot_back
from copilot.turns.wait import until_delivered, within

logger = logging.getLogger(__name__)

#: Seconds that others have to take the child before the parent's process takes it, and between two looks.
LEND_SECONDS = 1.0
#: Seconds between two looks of the card at how far the child is.
SHOW_SECONDS = 1.0
#: What a call needs after its wait, of the seconds that a tool may take.
SPARE_SECONDS = 5.0
_APPROVALS = ("data-approval", "data-approval-decided")


class CallChildren:
    """The engine behind ``run_subsession`` and ``get_subsession_result``, for one call."""

    def __init__(self, live: LiveTurn, call_id: uuid.UUID) -> None:
        self._live = live
        self._call = call_id
        self._shown_at = 0.0
        self._tail = ""

    async def run(self, *, prompt: str, system_context: str, session: str | None, wait: float) -> Any:
        """See ``copilot.tools.base.Children``."""
        self._live.has_children = True
        try:
            sent = await db_steady(
                children.send_prompt,
                self._live.claim,
                self._call,
                prompt=prompt,
                system_context=system_context,
                child=session,
            )
        except AppError as error:
            raise ToolError(error.detail) from error
        except ChildRefused as error:
            raise ToolError(str(error)) from error
        if sent is None:
            raise StaleTurn
        reach("prompt_sent")
        await self._wait(sent, wait)
        return await db_steady(children.answer_to, sent)

    async def result(self, *, session: str, wait: float, cancel: bool, include_progress: bool) -> Any:
        """See ``copilot.tools.base.Children``."""
        try:
            sent = await db_steady(children.last_prompt, self._live.claim.session_id, session)
        except ChildRefused as error:
            raise ToolError(str(error)) from error
        if cancel and await db_steady(children.stop_prompt, sent):
            return {"session": str(sent.session), "status": "cancelled"}
        self._live.has_children = True
        await self._wait(sent, 0 if cancel else wait)
        return await db_steady(children.answer_to, sent, progress=include_progress)

    async def _wait(self, sent: Prompt, seconds: float) -> None:
        """Return when the answer is there, or after ``seconds``. The turn takes up no slot meanwhile."""
        seconds = min(seconds, settings.TOOL_MAX_SECONDS - SPARE_SECONDS)
        if seconds <= 0:
            return
        enough = asyncio.Event()
        lending = asyncio.create_task(self._lend(sent.session, enough))
        self._live.waits += 1
        try:
            await self._follow(sent, seconds)
        finally:
            self._live.waits -= 1
            enough.set()
            await lending  # it must not take the slot away once it was taken back
            if not self._live.waits:
                await db_steady(take_slot_back, self._live.claim)

    async def _lend(self, session_id: uuid.UUID, enough: asyncio.Event) -> None:
        """See to it that the child is never kept waiting by who waits for it."""
        while True:
            try:
                async with asyncio.timeout(LEND_SECONDS):
                    await enough.wait()
                return
            except TimeoutError:
                pass
            try:
                await self._live.lend(session_id)
            except (DatabaseError, InterfaceError, Busy) as error:
                logger.info("no slot lent", extra={"action": "lend_failed", "error": repr(error)})

    async def _follow(self, sent: Prompt, seconds: float) -> None:
        until = time.monotonic() + seconds
        self._show(sent, "running")
        place = await until_delivered(sent.message, seconds=seconds)
        left = until - time.monotonic()
        if place is None or place.turn is None or left <= 0:
            return
        newest, asked = await db_steady(self._catch_up, place.turn)
        for chunk in asked:
            self._pass_on(chunk)
        async with within(left), aclosing(follow(place.turn, newest)) as items:  # type: ignore[type-var]
            async for item in items:
                if isinstance(item, Event):
                    self._take(sent, item.chunk)

    def _catch_up(self, turn_id: uuid.UUID) -> tuple[int, list[schema.Chunk]]:
        """Make the child's turn one of this turn's; return the seq of its newest event, and what it asked."""
        children.adopt(self._live.claim, turn_id)
        events = read_events(turn_id)
        asked = {
            chunk["data"]["approval"]["id"]: chunk for _, chunk in standing(events) if chunk["type"] in _APPROVALS
        }
        return (events[-1][0] if events else 0), list(asked.values())

    def _take(self, sent: Prompt, chunk: schema.Chunk) -> None:
        if chunk["type"] in _APPROVALS:
            self._pass_on(chunk)
            waits = chunk["type"] == "data-approval"
            self._show(sent, "waiting_for_approval" if waits else "running", at_once=True)
        elif chunk["type"] == "text-delta":
            self._tail = (self._tail + chunk["delta"])[-children.PROGRESS_CHARACTERS :]
            self._show(sent, "running")

    def _pass_on(self, chunk: schema.Chunk) -> None:
        """Show on this call's card what a person is asked, or was, in the child or below it."""
        about = {"approval": chunk["data"]["approval"], "parent_call": str(self._call)}
        self._live.emit({"type": chunk["type"], "data": about})

    def _show(self, sent: Prompt, status: str, *, at_once: bool = False) -> None:
        now = time.monotonic()
        if now - self._shown_at < SHOW_SECONDS and not at_once:
            return
        self._shown_at = now
        text = {"text": self._tail} if self._tail else {}
        shown = {"session": str(sent.session), "status": status, **text}
        self._live.emit(schema.tool_output_available(self._call, shown, preliminary=True))
