"""The messages of one answer on a platform, brought up to what it says."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from linking.platforms.base import Place, Platform, Refused, TooFast, Unavailable
from linking.platforms.pacing import Pace
from linking.platforms.splitting import messages

log = logging.getLogger(__name__)

#: Seconds before a write that failed is tried again: the first time, and at most.
AGAIN_SECONDS = 1.0
AGAIN_MAX_SECONDS = 60.0
#: So often a write is tried before the answer is given up; half an hour or so.
TRIES = 40


class Posting:
    """Keeps the messages of an answer as near to its text as the platform's pace allows.

    Each time it may write it brings one message up to date, the first that differs, so messages that the answer
    has outgrown get their final text before the next one begins. ``settle`` returns when all of them have theirs.

    Args:
        reply_to: the message that the first one answers.
        written: ids of messages that an earlier run wrote; what is in them is not known.
        on_change: called after the ids have changed.
    """

    def __init__(
        self,
        platform: Platform,
        pace: Pace,
        place: Place,
        *,
        reply_to: str = "",
        written: list[str] | None = None,
        on_change: Callable[[list[str]], None] = lambda written: None,
    ) -> None:
        self._platform = platform
        self._pace = pace
        self._place = place
        self._reply_to = reply_to
        self._on_change = on_change
        #: What each message shows as far as is known, under its id; one without an id was given up.
        self._shown: list[tuple[str, str | None]] = [(each, None) for each in written or ()]
        self._wanted: list[str] = []
        self._final = False
        self._news = asyncio.Event()
        self._level = asyncio.Event()
        self._level.set()
        self._task = asyncio.create_task(self._run())

    @property
    def is_empty(self) -> bool:
        """Whether nothing was written yet."""
        return not self._shown

    def show(self, sections: list[str]) -> None:
        """Say what the answer is by now; returns at once."""
        self._wanted = [text for section in sections for text in messages(section, self._platform.size)]
        if self._next() is not None and not self._task.done():
            self._level.clear()
        self._news.set()

    async def level(self) -> None:
        """Return when the platform shows what was last said, or writing was given up."""
        await self._level.wait()

    async def settle(self, sections: list[str]) -> None:
        """Say what the answer is for good; return when it stands there, or the platform refused for good."""
        self._final = True
        self.show(sections)
        await self._task

    def drop(self) -> None:
        """Stop writing, whatever is left."""
        self._task.cancel()

    async def _run(self) -> None:
        try:
            await self._write_all()
        finally:
            self._level.set()

    async def _write_all(self) -> None:
        failures = 0
        while True:
            if self._next() is None:
                self._level.set()
                if self._final:
                    return
                self._news.clear()
                await self._news.wait()
                continue
            key, apart = self._platform.pace_of(self._place)
            await self._pace.wait(key, apart)
            try:
                await self._write()
                failures = 0
            except TooFast as error:
                self._pace.hold(key, error.seconds)
            except Unavailable as error:
                failures += 1
                if failures >= TRIES:
                    log.warning("an answer could not be written", extra={"platform": self._platform.name})
                    return
                log.info("a write failed", extra={"platform": self._platform.name, "error": str(error)})
                await asyncio.sleep(min(AGAIN_MAX_SECONDS, AGAIN_SECONDS * 2 ** (failures - 1)))
            except Refused as error:
                log.info("the chat is gone", extra={"platform": self._platform.name, "error": str(error)})
                return

    def _next(self) -> int | None:
        """Return the first message that is not what it should be."""
        for index in range(max(len(self._wanted), len(self._shown))):
            if index >= len(self._shown) or index >= len(self._wanted):
                # Before the end messages may come back: only then what is too many goes.
                return index if index < len(self._wanted) or self._final else None
            message, text = self._shown[index]
            if message and text != self._wanted[index]:
                return index
        return None

    async def _write(self) -> None:
        # The text may have changed while this waited for its turn.
        index = self._next()
        if index is None:
            return
        if index >= len(self._wanted):
            message, _ = self._shown[-1]
            if message:
                await self._platform.delete(self._place, message)
            self._shown.pop()
            self._changed()
            return
        text = self._wanted[index]
        if index >= len(self._shown):
            reply_to = self._reply_to if index == 0 else ""
            message = await self._platform.send(self._place, text, reply_to=reply_to)
            self._shown.append((message, text))
            self._changed()
            return
        message = self._shown[index][0]
        try:
            await self._platform.edit(self._place, message, text)
        except Refused:
            message = ""  # somebody took it away: it is not written again
        self._shown[index] = (message, text)

    def _changed(self) -> None:
        self._on_change([message for message, _ in self._shown])
