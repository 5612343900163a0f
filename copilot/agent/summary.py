"""Having the older part of a conversation summarised by the model itself, beside the turn's own calls."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from contextlib import aclosing

from common.db import db_steady
from common.redaction import redact_text
from common.text import storable
from copilot.agent import prompt
from copilot.agent.called import measured_call
from copilot.agent.estimate import CHARACTERS_A_TOKEN, request_tokens, text_tokens
from copilot.agent.fallback import StandIn
from copilot.agent.history import Group
from copilot.agent.live import LiveTurn
from copilot.agent.room import summary_tokens
from copilot.agent.shortened import cut_middle
from copilot.agent.state import TurnState
from copilot.agent.usage import usage_chunk
from copilot.providers.base import (
    ModelMessage,
    ModelRequest,
    ProviderError,
    Text,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    Usage,
)
from copilot.providers.pricing import price_call
from copilot.turns.progress import record_usage

logger = logging.getLogger(__name__)

#: Longest time of one try.
SECONDS = 120.0
TRIES_MAX = 2
PAUSE_MAX = 5.0
#: Characters of one text, call or result in what is summarised, and of all of it where no window is known.
PIECE = 4000
INPUT = 240_000
#: Share of the window that the input takes.
SHARE = 0.6
#: A message is never cut below this, however small a window is.
INPUT_MIN = 2000
_WHO = {"user": "User", "assistant": "Assistant"}


async def summarise(
    live: LiveTurn,
    state: TurnState,
    asked: StandIn,
    step: int,
    *,
    earlier: str,
    covered: Sequence[Group],
    cut: bool,
    window: int | None,
) -> str:
    """Return a summary of these messages without secrets, "" when none could be made.

    What it uses is recorded as the turn's.

    Args:
        asked: the model.
        step: the one that room is made for.
        earlier: the summary of what came before.
        cut: older messages were not read.
    """
    most = max(INPUT_MIN, int(window * SHARE) * CHARACTERS_A_TOKEN) if window else INPUT
    for number in range(1, TRIES_MAX + 1):
        question = ModelRequest(
            model=asked.name,
            system=prompt.SUMMARISER,
            messages=(ModelMessage("user", _question(earlier, covered, most, cut=cut)),),
            effort="none",
            max_output_tokens=summary_tokens(window),
            step=step,
        )
        try:
            async with asyncio.timeout(SECONDS):
                text = await _ask(live, state, asked, question)
        except (ProviderError, TimeoutError) as error:
            problem = error if isinstance(error, ProviderError) else ProviderError("timeout", "It took too long.")
            _log(live, problem, number)
            if not problem.transient and problem.code != "context_overflow":
                return ""
            if number < TRIES_MAX:
                await asyncio.sleep(min(problem.retry_after or 0.2, PAUSE_MAX))
            most //= 2
        else:
            longest = 2 * CHARACTERS_A_TOKEN * question.max_output_tokens
            return redact_text(storable(text)).strip()[:longest]
    return ""


def _log(live: LiveTurn, problem: ProviderError, tries: int) -> None:
    ids = {"turn_id": live.id, "code": problem.code, "tries": tries}
    logger.warning("no summary", extra={"action": "summary_failed", **ids})


async def _ask(live: LiveTurn, state: TurnState, asked: StandIn, question: ModelRequest) -> str:
    said: list[str] = []
    usage: Usage | None = None
    state.asked += 1
    try:
        with measured_call(asked.model):
            async with aclosing(asked.provider.stream(question)) as stream:
                async for part in stream:
                    if isinstance(part, Text):
                        said.append(part.delta)
                    elif isinstance(part, Usage):
                        usage = part
    finally:
        if usage is not None or said:  # what was used was used, also when it is stopped
            await _record(live, state, asked, question, usage or _estimate(question, said))
    return "".join(said)


def _estimate(question: ModelRequest, said: list[str]) -> Usage:
    return Usage(request_tokens(question), text_tokens("".join(said)), estimated=True)


async def _record(live: LiveTurn, state: TurnState, asked: StandIn, question: ModelRequest, usage: Usage) -> None:
    cost = price_call(asked.model, usage)
    state.cost += cost.microdollars or 0
    live.emit(usage_chunk(usage, asked.model))
    await db_steady(
        record_usage,
        claim=live.claim,
        step=question.step,
        call=state.asked,
        model=asked.model,
        usage=usage,
        cost=cost,
    )


def _question(earlier: str, covered: Sequence[Group], most: int, *, cut: bool) -> tuple[TextPart, ...]:
    """Return what the model is asked, with about ``most`` characters of the conversation: the newest of it.

    As text: a provider refuses calls of tools that it is not offered.
    """
    pieces = [piece for group in covered for message in group.messages for piece in _pieces(message)]
    first = [f"Summary of what came before:\n{cut_middle(prompt.escape(earlier), most // 2)}"] if earlier else []
    left = most - sum(map(len, first))
    begin = len(pieces)
    while begin and len(pieces[begin - 1]) <= left:
        begin -= 1
        left -= len(pieces[begin])
    if begin or cut:
        first.append("[Older messages are left out here.]")
    text = "\n\n".join([*first, *pieces[begin:]])
    return (TextPart(prompt.SUMMARISE), TextPart(f"<{prompt.EARLIER}>\n{text}\n</{prompt.EARLIER}>"))


def _pieces(message: ModelMessage) -> list[str]:
    """Return a message as text, escaped already, each text, call and result by itself."""
    pieces = []
    if said := message.text().strip():
        pieces.append(f"{_WHO.get(message.role, 'Assistant')}: {cut_middle(said, PIECE)}")
    for part in message.parts:
        if isinstance(part, ToolCallPart):
            arguments = prompt.escape(json.dumps(part.arguments, ensure_ascii=False))
            pieces.append(f"Assistant called {part.name}: {cut_middle(arguments, PIECE)}")
        elif isinstance(part, ToolResultPart):
            failed = " (failed)" if part.is_error else ""
            pieces.append(f"Result of {part.name}{failed}: {cut_middle(part.output, PIECE)}")
    return pieces
