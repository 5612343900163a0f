"""Linking a chat to an account. The invitation holds a secret: it goes to one person, never into a group."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from linking.platforms import words
from linking.platforms.base import Incoming, Person, Place, Platform, PlatformError, TooFast, Unavailable
from linking.platforms.client import ApiError, Holdfast, LinkToken, Unreachable
from linking.platforms.markdown import plain

log = logging.getLogger(__name__)

#: How long an invitation may be used, in seconds, and how long a wish for one is remembered.
WISH_SECONDS = 1800.0
#: Seconds between two looks whether it was used: in the first two minutes, and later.
LOOK_SECONDS = 2.0
LOOK_LATER_SECONDS = 15.0
#: So often, and after so many seconds, an invitation is sent again that did not go out.
TRIES = 4
AGAIN_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class _Wish:
    """A person asked for a link of a group and could not be written to."""

    place: Place
    place_name: str
    until: float


class Inviting:
    """Makes invitations, sees that only who asked gets to read them, and tells when one was used.

    Args:
        tell: tells who wrote something, sooner or later.
        start: runs something beside everything else.
    """

    def __init__(
        self,
        platform: Platform,
        holdfast: Holdfast,
        tell: Callable[[Incoming, str], None],
        start: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._platform = platform
        self._holdfast = holdfast
        self._tell = tell
        self._start = start
        self._wishes: dict[str, _Wish] = {}

    async def invite(self, incoming: Incoming) -> None:
        """Give who wrote a link for the place in which they did."""
        if not incoming.person.id:
            self._tell(incoming, words.ANONYMOUS)
            return
        await self._invite(incoming, incoming.place, incoming.place_name)

    async def greet(self, incoming: Incoming) -> None:
        """Answer somebody who opened a private chat: perhaps to get a link that they asked for elsewhere."""
        wish = self._wishes.pop(incoming.person.id, None)
        if wish and wish.until > time.monotonic():
            await self._invite(incoming, wish.place, wish.place_name)
        elif await self._holdfast.is_linked(incoming.place):
            self._tell(incoming, words.READY)
        else:
            await self.invite(incoming)

    async def _invite(self, incoming: Incoming, place: Place, place_name: str) -> None:
        """Make an invitation. It is handed over beside everything else: a platform may ask to wait for minutes."""
        try:
            token = await self._holdfast.link_token(place, incoming.person, place_name)
        except ApiError as error:
            told = words.ALREADY_LINKED if error.code == "already_linked" else words.refusal(error)
            self._tell(incoming, told)
            return
        self._start(self._hand_over(incoming, place, place_name, token))

    async def _hand_over(self, incoming: Incoming, place: Place, place_name: str, token: LinkToken) -> None:
        person = incoming.person
        what = "this chat" if place.kind == "user" else f"“{plain(place_name)}”" if place_name else "the group"
        try:
            was_told = await self._privately(person, words.invitation(token, what=what))
        except PlatformError as error:
            log.info("an invitation did not go out", extra={"platform": self._platform.name, "error": str(error)})
            return
        if was_told:
            self._start(self._watch(token, place, person))
            if incoming.place.kind == "server":
                self._tell(incoming, words.IN_PRIVATE)
            return
        self._remember(person, _Wish(place, place_name, time.monotonic() + WISH_SECONDS))
        self._tell(incoming, self._platform.how_to_reach())

    async def _privately(self, person: Person, text: str) -> bool:
        """Tell somebody what is for them alone, and try again: the token cannot be shown a second time."""
        for _ in range(TRIES - 1):
            try:
                return await self._platform.tell_privately(person, text)
            except TooFast as error:
                await asyncio.sleep(error.seconds)
            except Unavailable:
                await asyncio.sleep(AGAIN_SECONDS)
        return await self._platform.tell_privately(person, text)

    def _remember(self, person: Person, wish: _Wish) -> None:
        now = time.monotonic()
        self._wishes = {key: each for key, each in self._wishes.items() if each.until > now}
        self._wishes[person.id] = wish

    async def _watch(self, token: LinkToken, place: Place, person: Person) -> None:
        """Tell when the link was made. Nothing is lost when this is cut off: the link is there all the same."""
        began = time.monotonic()
        while (passed := time.monotonic() - began) < WISH_SECONDS:
            await asyncio.sleep(LOOK_SECONDS if passed < 120 else LOOK_LATER_SECONDS)
            try:
                status = await self._holdfast.link_status(token.token)
            except Unreachable:
                continue
            except ApiError:
                return
            if status == "pending":
                continue
            with suppress(PlatformError):
                if status == "linked" and place.kind == "server":
                    await self._platform.send(place, words.GROUP_LINKED)
                elif status == "linked":
                    await self._platform.tell_privately(person, words.LINKED)
            return
