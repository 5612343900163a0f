"""What every adapter does with a message or a press: link, ask, show the answer, decide, stop."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar
from weakref import WeakValueDictionary

from linking.platforms import words
from linking.platforms.base import Incoming, Platform, PlatformError, Press, Refused, TooFast, Unavailable
from linking.platforms.client import Accepted, ApiError, Holdfast, Unreachable
from linking.platforms.following import Following
from linking.platforms.inviting import Inviting
from linking.platforms.memory import Memory, Shown
from linking.platforms.pacing import Pace
from linking.platforms.presses import Presses
from linking.platforms.serving import Crew

T = TypeVar("T")
log = logging.getLogger(__name__)

#: The words that are commands here; others are part of what is asked.
COMMANDS = frozenset({"start", "help", "ask", "stop", "link", "unlink"})
#: Seconds between two tries to hand over a message: the first time, and at most.
AGAIN_SECONDS = 0.5
AGAIN_MAX_SECONDS = 15.0
#: Seconds after which a person is told that it takes long.
PATIENCE_SECONDS = 10.0
#: Seconds that a limit may last so that waiting is better than asking the person to try again.
MOMENT_SECONDS = 3.0
#: So often a short reply is tried.
TRIES = 6
#: Seconds between two looks at a message that waits for a turn which is not shown here.
LOOK_SECONDS = 3.0
LOOK_MAX_SECONDS = 60.0


class Conversations:
    """All conversations of an adapter. Call ``resume`` once, then ``handle`` and ``press``; ``close`` at the end.

    Args:
        pace: how fast may be written, over all conversations.
    """

    def __init__(
        self,
        platform: Platform,
        holdfast: Holdfast,
        memory: Memory,
        *,
        pace: Pace | None = None,
    ) -> None:
        self._platform = platform
        self._holdfast = holdfast
        self._memory = memory
        self._pace = pace or Pace()
        self._crew = Crew()
        self._inviting = Inviting(platform, holdfast, self._tell, self._crew.start)
        self._presses = Presses(holdfast)
        self._followings: dict[str, Following] = {}
        #: Whoever holds or waits for one keeps it alive.
        self._locks: WeakValueDictionary[tuple[str, str, str], asyncio.Lock] = WeakValueDictionary()

    def resume(self) -> int:
        """Go on showing what an earlier run was showing; return how many turns."""
        for shown in list(self._memory.shown.values()):
            self._follow(shown)
        return len(self._followings)

    async def close(self) -> None:
        """Stop showing; what runs goes on, and the next run shows it on."""
        await self._crew.close()

    # --- messages ------------------------------------------------------------------------

    async def handle(self, incoming: Incoming, *, patience: float | None = None) -> None:
        """Do what a message asks. On return it is safe with Holdfast, or was answered.

        Messages of one conversation are taken in the order of the calls. The same message again does nothing.

        Args:
            patience: seconds to wait for Holdfast; None waits as long as it takes.

        Raises:
            Unreachable: Holdfast did not answer in that time. The platform must deliver the message again.
        """
        lock = self._locks.setdefault(incoming.place.thread, asyncio.Lock())
        try:
            async with lock:
                await self._handle(incoming, patience)
        except PlatformError as error:
            # What could not be said is not said; the message itself was dealt with.
            log.info("a reply was not possible", extra={"platform": self._platform.name, "error": str(error)})
        except ApiError as error:
            log.warning("Holdfast refuses", extra={"status": error.status, "code": error.code})
            self._tell(incoming, words.refusal(error))

    async def _handle(self, incoming: Incoming, patience: float | None) -> None:
        client_id = client_id_of(self._platform.name, incoming)
        if self._memory.knows(client_id):
            return
        await self._do(incoming, patience)
        if not self._memory.knows(client_id):
            # Delivered again, a /stop would end what was asked later, and an answer would become a question.
            self._memory.accept(client_id)

    async def _do(self, incoming: Incoming, patience: float | None) -> None:
        match incoming.command:
            case "start" if incoming.place.kind == "user":
                await self._patiently(incoming, patience, lambda: self._inviting.greet(incoming))
            case "help" | "start":
                self._tell(incoming, words.HELP)
            case "link":
                await self._patiently(incoming, patience, lambda: self._inviting.invite(incoming))
            case "unlink":
                self._tell(incoming, words.UNLINK)
            case "stop":
                await self._patiently(incoming, patience, lambda: self._stop(incoming))
            case _:
                await self._say(incoming, patience)

    async def _say(self, incoming: Incoming, patience: float | None) -> None:
        text = incoming.text.strip()
        if incoming.files and not text:
            self._tell(incoming, words.NO_FILES)
        elif not text:
            self._tell(incoming, words.HELP)
        elif question := self._question_for(incoming):
            await self._patiently(incoming, patience, lambda: self._answer(incoming, question, text))
        else:
            await self._ask(incoming, text, patience)
            if incoming.files:
                self._tell(incoming, words.TEXT_ONLY)

    async def _ask(self, incoming: Incoming, text: str, patience: float | None) -> None:
        client_id = client_id_of(self._platform.name, incoming)
        if incoming.quoted:
            text = "\n".join(f"> {line}" for line in incoming.quoted.splitlines()) + f"\n\n{text}"

        async def send() -> Accepted:
            return await self._holdfast.send(incoming.place, incoming.person, text, client_id)

        try:
            accepted = await self._patiently(incoming, patience, send)
        except ApiError as error:
            if error.code != "not_linked":
                raise
            if incoming.place.kind == "user":
                await self._patiently(incoming, patience, lambda: self._inviting.invite(incoming))
            else:
                self._tell(incoming, words.NOT_LINKED)
            return
        self._accepted(incoming, client_id, accepted, send)
        if accepted.queued and not accepted.turn:
            waits = accepted.waiting_for == "approval"
            self._tell(incoming, words.QUEUED_APPROVAL if waits else words.QUEUED)

    def _accepted(
        self, incoming: Incoming, client_id: str, accepted: Accepted, again: Callable[[], Awaitable[Accepted]]
    ) -> None:
        if accepted.turn and accepted.turn not in self._followings:
            shown = Shown(accepted.turn, incoming.place, incoming.message)
            self._memory.accept(client_id, shown)
            self._follow(shown)
            return
        self._memory.accept(client_id)
        if accepted.turn:
            return
        if ahead := self._shown_in(incoming):
            self._followings[ahead[-1]].unread.add(accepted.message)
        else:
            # The turn that it waits for began elsewhere, so nobody here will see which one comes next.
            self._crew.start(self._look(incoming, again))

    async def _look(self, incoming: Incoming, again: Callable[[], Awaitable[Accepted]]) -> None:
        """Ask after a message that waits until it has a turn, and show that."""
        wait = LOOK_SECONDS
        while True:
            await asyncio.sleep(wait)
            wait = min(LOOK_MAX_SECONDS, wait * 1.5)
            try:
                accepted = await again()
            except Unreachable:
                continue
            except ApiError:
                return
            if accepted.held:
                self._tell(incoming, words.HELD)
                return
            if accepted.turn:
                if accepted.turn not in self._followings:
                    shown = Shown(accepted.turn, incoming.place, incoming.message)
                    self._memory.shown[shown.turn] = shown
                    self._memory.save()
                    self._follow(shown)
                return

    async def _stop(self, incoming: Incoming) -> None:
        stopped = [await self._holdfast.cancel(turn) for turn in self._shown_in(incoming)]
        self._tell(incoming, words.STOPPING if any(stopped) else words.NOTHING_RUNS)

    def _shown_in(self, incoming: Incoming) -> list[str]:
        thread = incoming.place.thread
        return [turn for turn, following in self._followings.items() if following.place.thread == thread]

    async def _patiently(self, incoming: Incoming, patience: float | None, call: Callable[[], Awaitable[T]]) -> T:
        """Make a call to Holdfast until it answers; tell the person once when that takes long."""
        began, wait, told = time.monotonic(), AGAIN_SECONDS, False
        while True:
            try:
                return await call()
            except Unreachable:
                passed = time.monotonic() - began
                if patience is not None and passed + wait > patience:
                    raise
            except ApiError as error:
                passed, wait = time.monotonic() - began, error.retry_after or 0.0
                if error.code != "rate_limited" or not 0 < wait <= MOMENT_SECONDS or passed > PATIENCE_SECONDS:
                    raise
            if passed > PATIENCE_SECONDS and not told:
                told = True
                self._tell(incoming, words.NOT_NOW)
            await asyncio.sleep(wait)
            wait = min(AGAIN_MAX_SECONDS, wait * 2)

    # --- turns ---------------------------------------------------------------------------

    def _follow(self, shown: Shown) -> None:
        following = Following(self._platform, self._holdfast, self._memory, self._pace, shown)
        self._followings[shown.turn] = following
        self._crew.start(self._show(shown, following))

    async def _show(self, shown: Shown, following: Following) -> None:
        """Show a turn to its end, then the one that follows from what came meanwhile."""
        try:
            turn = await following.run()
        finally:
            self._followings.pop(shown.turn, None)
        following_turn = str((turn or {}).get("next_turn") or "")
        if following_turn and following_turn not in self._followings:
            shown_next = Shown(following_turn, shown.place)
            self._memory.shown[following_turn] = shown_next
            self._follow(shown_next)
        self._memory.forget(shown.turn)
        if following.unread and turn and not following_turn:
            await following.write(lambda: self._platform.send(shown.place, words.HELD))

    def _tell(self, to: Incoming, text: str) -> None:
        """Tell who wrote something. That may take its time: no other message waits for it."""
        self._crew.start(self._told(to, text))

    async def _told(self, to: Incoming, text: str) -> None:
        for tries in range(TRIES):
            try:
                return await self._platform.note(to, text)
            except TooFast as error:
                await asyncio.sleep(error.seconds)
            except Unavailable:
                await asyncio.sleep(min(AGAIN_MAX_SECONDS, AGAIN_SECONDS * 2**tries))
            except Refused as error:
                break_off = {"platform": self._platform.name, "error": str(error)}
                return log.info("a reply was refused", extra=break_off)
        return None

    # --- decisions -----------------------------------------------------------------------

    async def press(self, press: Press) -> None:
        """Do what a button says. Whoever pressed is told what became of it.

        Raises:
            Unreachable: Holdfast does not answer; the person was told.
        """
        try:
            try:
                told = await self._presses.take(press, list(self._followings.values()))
            except Unreachable:
                await self._platform.note(press, words.NOT_NOW)
                raise
            await self._platform.note(press, told)
        except PlatformError as error:
            log.info("a press was not answered", extra={"platform": self._platform.name, "error": str(error)})

    def _question_for(self, incoming: Incoming) -> str:
        """Return the open question that a message answers: in private any does, elsewhere a reply to it.

        Where a platform has no replies, any does that is meant for the bot.
        """
        if incoming.command:
            return ""
        for turn in self._shown_in(incoming):
            following = self._followings[turn]
            any_does = incoming.place.kind == "user" or not self._platform.has_replies
            if following.question and (any_does or following.asks_in(incoming.reply_to) == following.question):
                return following.question
        return ""

    async def _answer(self, incoming: Incoming, question: str, text: str) -> None:
        if refused := await self._presses.answer(question, incoming.person, text):
            self._tell(incoming, refused)


def client_id_of(platform: str, incoming: Incoming) -> str:
    """Return the same id for the same message each time it is delivered; it tells nothing of who wrote it."""
    place = incoming.place
    named = "\n".join([platform, *place.thread, *place.address, incoming.message])
    return f"{platform}-{hashlib.sha256(named.encode()).hexdigest()[:40]}"
