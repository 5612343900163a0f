"""Waiting on behalf of a person: every few seconds it is asked again whether they may."""

from __future__ import annotations

import functools
import uuid
from collections.abc import AsyncIterator

from common.auth import Caller, check_still_valid
from common.errors import NotAuthenticated
from copilot import selectors, serving
from copilot.events.follow import Beat, Event


def watch(caller: Caller, turn_id: uuid.UUID, after: int) -> AsyncIterator[Event | Beat]:
    """Follow a turn (``copilot.events.follow``) for as long as ``caller`` may read it.

    Raises:
        NotFound: it is not theirs any more.
        NotAuthenticated: logged out, deactivated, or the key was revoked.
    """
    return serving.watch(turn_id, after, check=functools.partial(_check, caller, turn_id))


def _check(caller: Caller, turn_id: uuid.UUID) -> None:
    if not check_still_valid(caller):
        raise NotAuthenticated
    selectors.turn_of(caller.user, turn_id)
