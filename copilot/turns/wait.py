"""Waiting for one turn: until it has ended, waits for a person, or the time is over. The turn goes on regardless.

For callers inside the server and for ``GET turns/{id}?wait``. A turn is followed by its id, so what another
message of the same session starts is never taken for it; who waits leaves the turn's group on every way out.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

from common.db import db
from common.errors import NotFound
from copilot import objects
from copilot.events import schema
from copilot.events.fold import Transcript
from copilot.events.follow import Beat, Event, follow
from copilot.events.log import last_seq, read_events
from copilot.models import Message, ToolCall, Turn
from copilot.models.turn import TERMINAL
from copilot.turns.submit import submit_message

#: What yields the events of a turn after a seq; ``follow``, or that with checks of its own.
Follower = Callable[[uuid.UUID, int], AsyncIterator[Event | Beat]]

#: Seconds before a message that waits for nothing is looked at again: its delivery is being committed.
AGAIN_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class CallResult:
    """A tool call of a turn: ``output`` when its state is done, else why there is none in ``error``."""

    id: uuid.UUID
    name: str
    arguments: Any
    state: str
    output: Any
    error: str


@dataclass(frozen=True, slots=True)
class TurnResult:
    """What a turn came to; while it is live, what is known so far.

    ``usage`` and ``error`` are those of the turn object: ``error`` has code and detail, and is None unless the
    turn failed or was cancelled.
    """

    turn: uuid.UUID
    status: str
    text: str
    calls: tuple[CallResult, ...]
    usage: dict[str, Any]
    error: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Reply:
    """What became of a message: ``result`` once it was delivered.

    Until then ``state`` says why there is none: queued (behind a turn that still runs), held (until a person sends
    it) or withdrawn.
    """

    message: uuid.UUID
    state: Literal["delivered", "queued", "held", "withdrawn"]
    result: TurnResult | None = None


async def wait_for_turn(turn_id: uuid.UUID, *, seconds: float) -> TurnResult:
    """Return what a turn came to, or what is known of it after ``seconds``.

    Raises:
        NotFound: there is no such turn, or it was deleted meanwhile.
    """
    await until_settled(turn_id, seconds=seconds)
    return await db(turn_result, turn_id)


async def submit_and_wait(*, seconds: float, **message: Any) -> Reply:
    """Send a message (``submit_message``) and wait for the turn that answers it.

    In a busy session it waits for its delivery first, and then for the turn that it was delivered to, whatever
    other turns the session has before.

    Raises:
        as ``submit_message``; NotFound also when the session is deleted meanwhile.
    """
    until = time.monotonic() + seconds
    accepted = await db(submit_message, **message)
    return await wait_for_answer(accepted.message.id, seconds=until - time.monotonic())


async def wait_for_answer(message_id: uuid.UUID, *, seconds: float) -> Reply:
    """Wait for the delivery of a message of a person, and for the end of the turn that answers it.

    Raises:
        NotFound: the turn was deleted meanwhile.
    """
    until = time.monotonic() + seconds
    place = await until_delivered(message_id, seconds=seconds)
    if place is None:
        return Reply(message_id, "withdrawn")
    if place.turn is not None:
        return Reply(message_id, "delivered", await wait_for_turn(place.turn, seconds=until - time.monotonic()))
    return Reply(message_id, "held" if place.held else "queued")


async def until_delivered(message_id: uuid.UUID, *, seconds: float) -> Place | None:
    """Return where a message is once it was delivered or held, or after ``seconds``. None: it was withdrawn."""
    until = time.monotonic() + seconds
    while True:
        place = await db(_place_of, message_id)
        left = until - time.monotonic()
        if place is None or place.turn is not None or place.held or left <= 0:
            return place
        await _until_moved(message_id, place, left)


async def until_settled(turn_id: uuid.UUID, *, seconds: float, follower: Follower = follow) -> None:
    """Return when the turn has ended, waits for a person, is gone, or ``seconds`` are over.

    Args:
        follower: follows the turn; what it raises comes through.
    """
    after, settled = await db(_stands, turn_id)
    if settled or seconds <= 0:
        return
    async with within(seconds), aclosing(follower(turn_id, after)) as items:  # type: ignore[type-var]
        async for item in items:
            if _may_settle(item) and (await db(_stands, turn_id, pool="follow"))[1]:
                return


def turn_result(turn_id: uuid.UUID) -> TurnResult:
    """Return what a turn came to so far.

    Raises:
        NotFound: there is no such turn.
    """
    turn = Turn.objects.filter(pk=turn_id).first()
    if turn is None:
        raise NotFound("There is no such turn.")
    shown = objects.turn_object(turn)
    calls = ToolCall.objects.filter(turn=turn).order_by("step", "position")
    return TurnResult(
        turn=turn.id,
        status=turn.status,
        text=shown["text"] if turn.is_terminal else Transcript.of(read_events(turn.id)).text,
        calls=tuple(
            CallResult(call.id, call.name, call.arguments, call.state, call.output, call.error) for call in calls
        ),
        usage=shown["usage"],
        error=shown.get("error"),
    )


def _stands(turn_id: uuid.UUID) -> tuple[int, bool]:
    """Return the seq of the turn's newest event, and whether there is nothing (more) to wait for."""
    # The log first: what settles the turn after this look comes after that seq.
    newest = last_seq(turn_id)
    status = Turn.objects.filter(pk=turn_id).values_list("status", flat=True).first()
    return newest, status in (None, Turn.Status.REQUIRES_ACTION, *TERMINAL)


def _may_settle(item: Event | Beat) -> bool:
    """Every change of state has its event, in the same transaction."""
    return isinstance(item, Event) and (schema.is_terminal(item.chunk) or item.chunk["type"] == "data-approval")


@asynccontextmanager
async def within(seconds: float) -> AsyncIterator[None]:
    """End the block after ``seconds`` and go on behind it; a timeout of somebody else's comes through."""
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            yield
    except TimeoutError:
        if not limit.expired():
            raise


# --- messages that wait --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Place:
    """Where a message is: the turn that it was delivered to, or the live turn before it, up to an event."""

    turn: uuid.UUID | None
    held: bool
    ahead: uuid.UUID | None
    newest: int


def _place_of(message_id: uuid.UUID) -> Place | None:
    found = Message.objects.filter(pk=message_id, role=Message.Role.USER)
    ahead = Turn.objects.live().filter(session__in=found.values("session")).values_list("pk", flat=True).first()
    newest = last_seq(ahead) if ahead else 0
    # The message last: whatever delivers it after this look comes after that event.
    place = found.values_list("turn_id", "held").first()
    return Place(*place, ahead, newest) if place else None


async def _until_moved(message_id: uuid.UUID, place: Place, seconds: float) -> None:
    """Return when the message may have been delivered, held or withdrawn, or ``seconds`` are over."""
    if place.ahead is None:
        return await asyncio.sleep(AGAIN_SECONDS)
    async with within(seconds), aclosing(follow(place.ahead, place.newest)) as items:  # type: ignore[type-var]
        async for item in items:
            if isinstance(item, Event) and item.chunk["type"] == "data-pending":
                return None
            # Nothing in the turn's log tells of a withdrawal.
            if isinstance(item, Beat) and not await db(_waits, message_id, pool="follow"):
                return None
    return None


def _waits(message_id: uuid.UUID) -> bool:
    return Message.objects.filter(pk=message_id, state=Message.State.QUEUED, held=False).exists()
