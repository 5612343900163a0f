"""What a step keeps of its calls: enough for a worker of the version before, and no secret."""

from __future__ import annotations

import uuid

import pytest

from copilot.agent.kept import kept
from copilot.events.fold import HIDDEN
from copilot.models import Step, ToolCall
from copilot.turns.progress import FinishedStep, PlannedCall, commit_step
from tests.factories import make_running

pytestmark = pytest.mark.django_db
SECRET = "ghp_1Ab2Cd3Ef4Gh5Ij6Kl7Mn8Op9Qr0St1Uv2Wx"


def test_calls_stand_in_the_step_with_the_arguments_that_are_shown() -> None:
    holder = make_running()
    holder.begin()
    calls = [PlannedCall(uuid.uuid4(), "same", "demo_once", {"text": text}) for text in ("one", SECRET)]
    content = [
        {"type": "text", "text": "Hm."},
        *({"type": "call", "id": "same", "name": "demo_once"} for _ in calls),
    ]
    holder.write(commit_step, step=FinishedStep(1, "tool-calls", content, calls))
    _, first, second = Step.objects.get(turn=holder.turn).content
    assert first["arguments"] == {"text": "one"}
    assert second["arguments"] == ToolCall.objects.get(turn=holder.turn, position=1).arguments
    assert SECRET[4:] not in str(second)


def test_exact_words_are_forgotten_at_the_end_of_their_turn_and_of_no_other() -> None:
    shown = f"The key is {HIDDEN}token⟧."
    said = [kept({"type": "text", "text": f"The key is {SECRET}."}, shown)]
    ended, other = make_running(), make_running()
    for holder in (ended, other):
        holder.begin()
        holder.say(shown)
        holder.write(commit_step, step=FinishedStep(1, "stop", said))
    ended.finish()
    assert Step.objects.get(turn=ended.turn).content == [{"type": "text", "text": shown}]
    assert Step.objects.get(turn=other.turn).content == said
    assert "sealed" in said[0]
