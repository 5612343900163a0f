"""What becomes of a tool call before it may run: it runs, it has its outcome already, or a person is asked."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Any

from approvals.actions import CallRequest, Question
from approvals.policy import Policy, operator_denies
from common.schemas import problem_of
from common.sealing import SealBroken, digest_of_arguments
from copilot.models import ToolCall
from copilot.tools.ask_user import AskUser
from copilot.tools.base import Tool
from copilot.turns.answered import BEST_JUDGEMENT
from copilot.turns.pause import Asked
from copilot.turns.progress import CallOutcome

UNKNOWN_OUTCOME = (
    "The process that ran this call was lost, so it is not known whether the call had its effect. "
    "It was not run again. Check the effect before repeating it."
)
_NOT_AS_APPROVED = "The arguments of this call are not those that were approved. It did not run."


@dataclass(frozen=True, slots=True)
class Run:
    """The call may run, with exactly these arguments."""

    call: ToolCall
    tool: Tool
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Judge:
    """Judges the calls of a turn by its stored policy and by what people decided.

    Attributes:
        tools: those that the turn offers, by name.
        approved: the digest of the arguments with which an approved call may run, by the call's id.
        guides: names of those tools which others require, and which have succeeded in the session.
    """

    policy: Policy
    tools: Mapping[str, Tool]
    approved: Mapping[str, str]
    guides: Set[str] = frozenset()

    def judge(self, call: ToolCall) -> Run | CallOutcome | Asked:
        """Return what becomes of a call that has no outcome yet. What the operator denies is read anew."""
        tool = self.tools.get(call.name)
        reason = operator_denies(call.name)
        if call.state == ToolCall.State.RUNNING and (tool is None or reason or not tool.idempotent):
            return _unknown()
        if tool is None:
            return _error(f"There is no tool named {call.name!r}.")
        if reason:
            return CallOutcome(ToolCall.State.DENIED, error=reason)
        if call.state == ToolCall.State.PENDING and tool.requires and tool.requires not in self.guides:
            return _error(_guide_first(tool))
        try:
            arguments = call.exact_arguments()
        except SealBroken:
            return _error("The arguments of this call cannot be read any more. Send the call again.")
        if call.state == ToolCall.State.APPROVED or str(call.id) in self.approved:
            return self._as_approved(call, tool, arguments)
        if call.state == ToolCall.State.RUNNING:
            return Run(call, tool, arguments)
        return self._by_policy(call, tool, arguments)

    def _as_approved(self, call: ToolCall, tool: Tool, arguments: Any) -> Run | CallOutcome:
        """What a person approved runs as it was shown, or not at all."""
        if self.approved.get(str(call.id)) != digest_of_arguments(arguments):
            begun = call.state == ToolCall.State.RUNNING
            return _unknown() if begun else CallOutcome(ToolCall.State.DENIED, error=_NOT_AS_APPROVED)
        return Run(call, tool, arguments)

    def _by_policy(self, call: ToolCall, tool: Tool, arguments: Any) -> Run | CallOutcome | Asked:
        verdict = self.policy.judge(call.name, arguments, asks=tool.asks)
        if verdict.outcome == "refuse" and not (isinstance(tool, AskUser) and verdict.by in ("mode", "surface")):
            return CallOutcome(ToolCall.State.DENIED, error=verdict.reason)
        if problem := _problem(arguments, tool):
            return _error(problem)
        if isinstance(tool, AskUser):
            return self._question(call, tool, arguments)
        if verdict.outcome == "ask":
            return Asked([self._request(call, tool, arguments, verdict.reason)])
        return Run(call, tool, arguments)

    def _question(self, call: ToolCall, tool: AskUser, arguments: dict[str, Any]) -> CallOutcome | Asked:
        """A question is asked whatever is allowed, wherever somebody can answer."""
        if not self.policy.asks_people:
            return CallOutcome(ToolCall.State.DONE, output=BEST_JUDGEMENT)
        question = Question(
            text=arguments["question"],
            options=arguments.get("options") or (),
            seconds=arguments.get("timeout_seconds"),
        )
        return Asked([self._request(call, tool, arguments, "")], question)

    @staticmethod
    def _request(call: ToolCall, tool: Tool, arguments: dict[str, Any], reason: str) -> CallRequest:
        return CallRequest(
            call_id=call.id,
            tool=call.name,
            arguments=arguments,
            schema=tool.parameters,
            allowed=tool.decisions,
            description=tool.description,
            reason=reason,
        )


def _problem(arguments: Any, tool: Tool) -> str:
    """Return what is wrong with the arguments of a call; nothing that cannot run is asked about."""
    if not isinstance(arguments, dict):
        return "The arguments were not a valid JSON object. Send the call again."
    if problem := problem_of(arguments, tool.parameters):
        where, message = problem
        return f"Invalid arguments{f' ({where})' if where else ''}: {message}"
    return ""


def _guide_first(tool: Tool) -> str:
    return (
        f"{tool.name!r} runs only after {tool.requires!r} has succeeded in this session. This call did not run. "
        f"Call {tool.requires!r}, read what it says, then call {tool.name!r} again."
    )


def guides_of(tools: Iterable[Tool], session_id: uuid.UUID) -> Set[str]:
    """Return which of the tools that these require have succeeded in a session."""
    required = {tool.requires for tool in tools if tool.requires}
    if not required:
        return frozenset()
    done = ToolCall.objects.filter(turn__session_id=session_id, name__in=required, state=ToolCall.State.DONE)
    return set(done.values_list("name", flat=True).distinct())


def _unknown() -> CallOutcome:
    return CallOutcome(ToolCall.State.UNKNOWN, error=UNKNOWN_OUTCOME)


def _error(text: str) -> CallOutcome:
    return CallOutcome(ToolCall.State.ERROR, error=text)


def next_pause(asked: list[Asked]) -> Asked | None:
    """Return what to ask first: about all calls of the batch together, then each question by itself."""
    requests = [request for each in asked if each.question is None for request in each.requests]
    return Asked(requests) if requests else next(iter(asked), None)
