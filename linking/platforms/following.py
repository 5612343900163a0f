"""Showing a turn in its place, from its first event to its last."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from linking.platforms import deciding, words
from linking.platforms.answer import Answer
from linking.platforms.base import Place, Platform, PlatformError, Refused, Rows, TooFast, Unavailable
from linking.platforms.client import ApiError, Holdfast, Unreachable
from linking.platforms.markdown import code, plain
from linking.platforms.memory import Memory, Shown
from linking.platforms.pacing import Pace
from linking.platforms.posting import Posting
from linking.platforms.splitting import messages

log = logging.getLogger(__name__)

Object = dict[str, Any]
T = TypeVar("T")

#: Seconds between two looks at a turn that speaks; platforms let nobody write that often.
GLANCE_SECONDS = 0.4
#: Seconds between two tries when Holdfast does not answer: the first time, and at most.
AGAIN_SECONDS = 1.0
AGAIN_MAX_SECONDS = 30.0
#: Events of a page that is full.
PAGE = 500
#: So often a message that stands by itself is tried.
TRIES = 40
#: Seconds for which a button that was pressed waits until the events of its turn are read again after a restart.
CAUGHT_UP_SECONDS = 10.0


class Following:
    """Shows one turn: its text in messages that grow, what it asks, and how it ended.

    What it has shown is in ``memory``, so after a restart the same messages are written on.
    """

    def __init__(self, platform: Platform, holdfast: Holdfast, memory: Memory, pace: Pace, shown: Shown) -> None:
        self._platform = platform
        self._holdfast = holdfast
        self._memory = memory
        self._pace = pace
        self._shown = shown
        self._answer = Answer()
        #: Approvals that nobody has decided, as far as the events tell.
        self._open: dict[str, Object] = {}
        self._waits = False
        self._caught_up = asyncio.Event()
        #: Messages that came meanwhile, by Holdfast's ids, and were not read by the agent yet.
        self.unread: set[str] = set()

    @property
    def place(self) -> Place:
        """Where it is shown."""
        return self._shown.place

    @property
    def question(self) -> str:
        """The approval that a message of a person may answer, or an empty string."""
        return self._shown.question

    async def open_approval(self, approval: str) -> Object | None:
        """Return an approval that was asked here and that nobody has decided, as far as the events tell.

        Raises:
            Unreachable: after a restart the events could not be read again yet.
        """
        if approval not in self._shown.asked and approval not in self._open:
            return None  # one that is just being written may be pressed already
        try:
            async with asyncio.timeout(CAUGHT_UP_SECONDS):
                await self._caught_up.wait()
        except TimeoutError:
            raise Unreachable("the turn's events") from None
        return self._open.get(approval)

    def asks_in(self, message: str) -> str:
        """Return the approval that a message of ours asks about, or an empty string."""
        return next((approval for approval, ids in self._shown.asked.items() if message in ids), "")

    async def run(self) -> Object | None:
        """Show the turn to its end and return it; None when it is out of reach."""
        posting = Posting(
            self._platform,
            self._pace,
            self.place,
            reply_to=self._shown.reply_to,
            written=self._shown.written,
            on_change=self._wrote,
        )
        typing = asyncio.create_task(self._type())
        try:
            turn = await self._follow(posting)
            typing.cancel()
            await self._settle(posting, turn)
            return turn
        finally:
            typing.cancel()
            posting.drop()
            self._open.clear()
            self._caught_up.set()

    async def _follow(self, posting: Posting) -> Object | None:
        after, terminal = 0, False
        while not terminal:
            page = await insist(partial(self._holdfast.events, self._shown.turn, after))
            if page is None:
                return None
            decided = [self._take(event) for event in page.events]
            posting.show(self._sections())
            for approval in filter(None, decided):
                await self._close(approval)
            await self._ask(posting)
            after, terminal = page.next, page.terminal
            if len(page.events) < PAGE:
                self._caught_up.set()
            if page.events and not terminal:
                await asyncio.sleep(GLANCE_SECONDS)
        return await insist(lambda: self._holdfast.turn(self._shown.turn))

    def _take(self, event: Object) -> Object | None:
        """Take an event into account; return the approval that it closes, if any."""
        chunk = event["chunk"]
        self._answer.take(event["seq"], chunk)
        if chunk["type"] == "data-pending":
            self.unread.discard(str(chunk["data"]["message"]["id"]))
        if chunk["type"] not in ("data-approval", "data-approval-decided"):
            return None
        approval: Object = chunk["data"]["approval"]
        if approval["status"] == "pending":
            self._open[approval["id"]] = approval
            self._waits = True
            return None
        self._open.pop(approval["id"], None)
        self._waits = bool(self._open)
        return approval

    def _sections(self) -> list[str]:
        """What to show while it runs: the text, and what it is busy with."""
        sections = self._answer.sections
        running = [] if self._waits else self._answer.running
        if running:
            names = ", ".join(code(name) for name in running)
            sections[-1] = "\n\n".join(filter(None, [sections[-1].rstrip(), f"⏳ {names}"]))
        return sections

    async def _ask(self, posting: Posting) -> None:
        """Ask what is open and was not asked yet, below the text so far."""
        for approval in list(self._open.values()):
            if approval["id"] in self._shown.asked:
                continue
            await posting.level()
            asked = deciding.card(approval)
            texts = messages(asked.text, self._platform.size)
            ids = []
            for n, text in enumerate(texts, 1):
                buttons = asked.buttons if n == len(texts) else ()
                sent = await self.write(partial(self._send, text, buttons))
                if sent:
                    ids.append(sent)
            self._shown.asked[approval["id"]] = ids
            if approval["kind"] == "ask_user_question":
                self._shown.question = approval["id"]
            self._memory.save()

    async def _close(self, approval: Object) -> None:
        """Take the buttons away and tell what was decided."""
        if self._shown.question == approval["id"]:
            self._shown.question = ""
        ids = self._shown.asked.get(approval["id"])
        if not ids:
            return
        closed = messages(deciding.outcome(approval).text, self._platform.size)[-1]
        await self.write(lambda: self._platform.edit(self.place, ids[-1], closed))

    async def _send(self, text: str, buttons: Rows) -> str:
        return await self._platform.send(self.place, text, buttons=buttons, reply_to=self._shown.reply_to)

    async def write(self, call: Callable[[], Awaitable[T]]) -> T | None:
        """Make a write that stands by itself, at the platform's pace; None when it did not come about."""
        for tries in range(TRIES):
            key, apart = self._platform.pace_of(self.place)
            await self._pace.wait(key, apart)
            try:
                return await call()
            except TooFast as error:
                self._pace.hold(key, error.seconds)
            except Unavailable:
                await asyncio.sleep(min(AGAIN_MAX_SECONDS, AGAIN_SECONDS * 2**tries))
            except Refused as error:
                log.info("a message was refused", extra={"platform": self._platform.name, "error": str(error)})
                return None
        return None

    async def _settle(self, posting: Posting, turn: Object | None) -> None:
        for approval in list(self._open.values()):
            await self._close({**approval, "status": "expired"})
        self._open.clear()
        sections = self._answer.sections
        if ending := _ending(turn):
            sections[-1] = "\n\n".join(filter(None, [sections[-1].rstrip(), ending]))
        await posting.settle(sections)

    async def _type(self) -> None:
        """Show the typing sign for as long as the turn works."""
        while self._platform.typing_seconds:
            if not self._waits:
                with suppress(PlatformError):
                    await self._platform.typing(self.place)
            await asyncio.sleep(self._platform.typing_seconds)

    def _wrote(self, written: list[str]) -> None:
        self._shown.written = written
        self._memory.save()


def _ending(turn: Object | None) -> str:
    """What to say of how a turn ended, beside its text."""
    if turn is None:
        return words.GONE
    error = turn.get("error") or {}
    if turn["status"] == "failed":
        return f"⚠️ {plain(str(error.get('detail') or 'Something went wrong.'))}"
    if turn["status"] == "cancelled":
        detail = str(error.get("detail") or "")
        return words.STOPPED if error.get("code") == "stopped" or not detail else f"_{plain(detail)}_"
    return ""


async def insist(call: Callable[[], Awaitable[T]]) -> T | None:
    """Ask Holdfast until it answers; None when there is no such thing (any more)."""
    tries = 0
    while True:
        try:
            return await call()
        except Unreachable:
            wait = min(AGAIN_MAX_SECONDS, AGAIN_SECONDS * 2**tries)
        except ApiError as error:
            if error.status == 404:
                return None
            # A key that was rotated, perhaps: what is shown must not be lost of it.
            log.warning("Holdfast refuses", extra={"status": error.status, "code": error.code})
            wait = error.retry_after or AGAIN_MAX_SECONDS
        tries = min(tries + 1, 10)
        await asyncio.sleep(wait)
