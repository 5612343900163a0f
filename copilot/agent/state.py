"""What a worker knows of the turn it runs, read from rows: a continuation needs nothing else."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.db.models import QuerySet, Sum

from common.prepared import prepared
from copilot.agent import history, prompt
from copilot.agent.fallback import StandIn
from copilot.agent.shortened import Shortened
from copilot.models import Message, Step, Turn, UsageRecord
from copilot.models.compaction import shortened_in
from copilot.providers.base import ModelMessage
from copilot.tools.base import Tool
from copilot.tools.mcp import McpTool
from copilot.tools.registry import matches, offered_tools
from copilot.turns.authority import has_personal


@dataclass(slots=True)
class TurnState:
    """What a worker knows of the turn it runs, read from rows at the start."""

    turn: Turn
    system: str
    messages: list[ModelMessage]
    #: Where the messages that this turn answers begin.
    asked_from: int
    tools: dict[str, Tool]
    steps: int
    last_step: Step | None
    message_id: object
    #: The step before has its end already: a message was delivered behind it.
    between_steps: bool = False
    #: The messages that were delivered into the turn so far.
    delivered: set[uuid.UUID] = field(default_factory=set)
    said_anything: bool = False
    nudged: bool = False
    late_tries: int = field(default=0)
    #: Nothing of the conversation was left unread for its size.
    whole: bool = True
    #: Which tool results of this turn's steps are given in short.
    shortened: Shortened = field(default_factory=Shortened)
    #: The input tokens of the latest call as its provider counted them, and how many messages it was sent.
    counted: tuple[int, int] | None = None
    #: How often the provider refused a request as too long.
    overflows: int = 0
    #: Model calls since the claim.
    asked: int = field(default=0)
    #: The model that took over in this process, if one did; what the turn has cost so far, in microdollars.
    stand_in: StandIn | None = None
    cost: int = 0


def load(turn_id: uuid.UUID) -> TurnState:
    """Read everything the turn needs."""
    [turn] = _turn(turn_id)
    answers = _answers(turn_id)
    _, first_place = answers[0]
    message_id, _ = answers[-1]
    earlier = history.earlier(turn, before=first_place)
    preamble = earlier.preamble()
    messages = preamble + earlier.question
    resumed = turn.sealed_seq > 0
    made = shortened_in(turn_id) if resumed else None
    shortened = Shortened.of(made)
    if resumed:
        messages += _own_messages(turn, shortened)
    return TurnState(
        turn=turn,
        system=prompt.system_prompt(turn.settings),
        messages=messages,
        asked_from=len(preamble),
        whole=earlier.whole,
        tools={tool.name: tool for tool in _tools(turn)},
        steps=turn.steps,
        last_step=Step.objects.get(turn=turn, number=turn.steps) if turn.steps else None,
        message_id=message_id,
        between_steps=resumed
        and (
            history.anything_after_step(turn.id, turn.steps) or (made is not None and made.through == turn.steps)
        ),
        delivered=history.delivered_ids(turn.id) if resumed else set(),
        said_anything=turn.steps > 0,
        shortened=shortened,
        cost=_cost_so_far(turn) if turn.fence > 1 else 0,
    )


def _cost_so_far(turn: Turn) -> int:
    return UsageRecord.objects.filter(turn=turn).aggregate(total=Sum("cost_microdollars"))["total"] or 0


def _own_messages(turn: Turn, shortened: Shortened) -> list[ModelMessage]:
    """Return the turn's steps but the last, whose calls may still lack an outcome, each with what was delivered
    behind it."""
    steps = history.committed_steps(turn, through=max(turn.steps - 1, 0))
    return shortened.flatten(steps)


def _tools(turn: Turn) -> list[Tool]:
    """Return what the turn's model may call. What strangers write reaches no MCP server."""
    mcp = not strangers_wrote(turn, turn.settings)
    return offered_tools(turn.model, turn.settings.get("tools"), mcp=mcp)


def strangers_wrote(turn: Turn, settings: Mapping[str, Any]) -> bool:
    """Whether a stranger is behind a turn that has these settings by now."""
    return not has_personal(settings) and turn.origin != Turn.Origin.BACKGROUND


def callable_tools(state: TurnState, settings: Mapping[str, Any]) -> dict[str, Tool]:
    """Return those of the offered tools that may be called under the settings that the turn has by now."""
    strangers, globs = strangers_wrote(state.turn, settings), settings.get("tools")
    if not strangers and globs == state.turn.settings.get("tools"):
        return state.tools
    return {
        name: tool
        for name, tool in state.tools.items()
        if matches(tool, globs) and not (strangers and isinstance(tool, McpTool))
    }


@prepared
def _turn(turn_id: Any) -> QuerySet[Turn]:
    return Turn.objects.filter(pk=turn_id)


@prepared
def _answers(turn_id: Any) -> QuerySet[Message, Any]:
    answers = Message.objects.filter(turn_id=turn_id, role=Message.Role.ASSISTANT)
    return answers.order_by("seq").values_list("id", "seq")
