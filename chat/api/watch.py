"""Waiting on behalf of a caller: every few seconds it is asked again whether they may."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing

from common.auth import Caller, check_still_valid
from common.db import db
from common.errors import NotAuthenticated
from copilot import selectors
from copilot.events.follow import Beat, Event, follow

#: Seconds between two looks at who owns what; with the second of a beat, five at most.
CHECK_SECONDS = 4.0


async def watch(caller: Caller, turn_id: uuid.UUID, after: int) -> AsyncIterator[Event | Beat]:
    """Follow a turn (``copilot.events.follow``) for as long as ``caller`` may read it.

    Raises:
        NotFound: it is not theirs any more.
        NotAuthenticated: logged out, deactivated, or the key was revoked.
    """
    due = time.monotonic() + CHECK_SECONDS
    async with aclosing(follow(turn_id, after)) as items:  # type: ignore[type-var]
        async for item in items:
            if time.monotonic() >= due:
                await db(_check, caller, turn_id, pool="follow")
                due = time.monotonic() + CHECK_SECONDS
            yield item


def _check(caller: Caller, turn_id: uuid.UUID) -> None:
    if not check_still_valid(caller):
        raise NotAuthenticated
    selectors.turn_of(caller.user, turn_id)
