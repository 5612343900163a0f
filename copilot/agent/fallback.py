"""The model that takes over from one that does not answer (``COPILOT_FALLBACK_MODEL``).

It takes over after the last retry of a failure that may pass, while nothing was shown. Never for the others: a
missing key, missing credit or a wrong name stays wrong until somebody mends it, who would not hear of it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from django.conf import settings

from copilot.providers.base import ModelMessage, ModelRequest, Provider, ProviderError, ReasoningPart
from copilot.providers.registry import UnknownModel, provider_for

if TYPE_CHECKING:  # it holds who took over
    from copilot.agent.state import TurnState

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StandIn:
    """A model that took over; ``model`` is ``provider/name``."""

    model: str
    provider: Provider
    name: str


def stand_in_for(model: str) -> StandIn | None:
    """Return the model that takes over from ``model``; None where there is none, or it is not set up."""
    fallback = str(settings.COPILOT_FALLBACK_MODEL)
    if not fallback or fallback == model:
        return None
    try:
        return StandIn(fallback, *provider_for(fallback))
    except (ProviderError, UnknownModel) as error:
        logger.warning("no fallback", extra={"action": "fallback_unusable", "error": str(error)})
        return None


def hand_over(state: TurnState, stand_in: StandIn, request: ModelRequest) -> ModelRequest:
    """Have another model go on with a turn, from the request that it then gets and that is returned.

    What the other one signed is nothing that this one takes, and the demo model's tools stay with it. The turn's
    row names the model that took over when a step of it is committed.
    """
    state.stand_in = stand_in
    state.turn.model = stand_in.model
    if not stand_in.model.startswith("demo/"):
        state.tools = {name: tool for name, tool in state.tools.items() if not tool.demo_only}
    state.messages = without_reasoning(state.messages)
    state.counted = None  # it counted for the other one
    return replace(
        request,
        model=stand_in.name,
        messages=tuple(without_reasoning(request.messages)),
        tools=tuple(tool for tool in request.tools if tool.name in state.tools),
    )


def without_reasoning(messages: Iterable[ModelMessage]) -> list[ModelMessage]:
    """Return messages without the reasoning that only the provider which signed it takes back."""
    kept = []
    for message in messages:
        parts = tuple(part for part in message.parts if not isinstance(part, ReasoningPart))
        if parts or not message.parts:
            kept.append(message if parts == message.parts else replace(message, parts=parts))
    return kept
