"""What happens between two steps of a turn: messages are delivered, and the next step begins."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, nullcontext

from django.conf import settings

from common.db import db_steady
from copilot.agent import history, prompt
from copilot.agent.live import LiveTurn
from copilot.agent.state import TurnState
from copilot.events import schema
from copilot.instructions import without_personal
from copilot.turns.authority import in_person, is_lent
from copilot.turns.followups import anything_to_deliver, deliver_followups


def begin(live: LiveTurn, state: TurnState) -> None:
    """Emit what comes before a step: the message's beginning, or the end of the step before."""
    for chunk in opening(live, state):
        live.emit(chunk)


def opening(live: LiveTurn, state: TurnState) -> list[schema.Chunk]:
    if state.between_steps:
        return []
    return [schema.finish_step() if live.sealed else schema.start(state.message_id)]


async def deliver(live: LiveTurn, state: TurnState) -> None:
    """Have the model read next what was sent meanwhile; not at the turn's last step, which has to end it."""
    if not may_deliver(state.steps):
        return
    heard, session_id = set(live.wanted), live.claim.session_id
    found = None
    if await db_steady(anything_to_deliver, session_id):
        found = await live.commit(
            deliver_followups, session_id=session_id, step=state.steps, opening=opening(live, state)
        )
    live.delivered |= heard  # or withdrawn: either way it interrupts no more
    if found is not None:
        state.between_steps = True
        state.messages += history.followups(found.messages)
        if not (in_person(found.messages) or is_lent(found.messages)):
            state.system = prompt.system_prompt(without_personal(state.turn.settings))


def may_deliver(steps: int) -> bool:
    """Whether a message can be delivered after so many steps: not before the last, which has to end the turn."""
    return steps + 1 < settings.TURN_MAX_STEPS


def cuttable(live: LiveTurn, step: int) -> AbstractAsyncContextManager[None]:
    """What happens in here is cut short for a message, if the message can be read after this step."""
    return live.step() if may_deliver(step) else nullcontext()
