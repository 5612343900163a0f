"""Whatever a conversation is like, what is left of it is one that a provider takes."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pytest_django import Settings

from copilot.agent import room
from copilot.agent.history import Earlier, Group, StepView
from copilot.agent.room import Limits, Plan, plan, tokens_of
from copilot.agent.shortened import Shortened
from copilot.providers.base import ModelMessage, TextPart, ToolCallPart, ToolResultPart

SIZES = st.sampled_from([4, 400, 4000, 40_000])


def person(text: str, **over: Any) -> ModelMessage:
    return ModelMessage("user", (TextPart(text),), **over)


def call(name: str, size: int) -> list[ModelMessage]:
    """One step: a call and its result."""
    return [
        ModelMessage("assistant", (ToolCallPart(name, "shell", {}),)),
        ModelMessage("tool", (ToolResultPart(name, "shell", "r" * size),)),
    ]


@st.composite
def groups(draw: st.DrawFn) -> list[Group]:
    """The messages before a question: some said nothing that a model is told."""
    made = []
    for n in range(draw(st.integers(0, 8))):
        kind, size = draw(st.sampled_from(["person", "answer", "tools", "nothing"])), draw(SIZES)
        messages = {
            "person": [person(f"p{n} " + "x" * size)],
            "answer": [ModelMessage("assistant", (TextPart(f"a{n} " + "x" * size),))],
            "tools": call(f"e{n}", size),
            "nothing": [],
        }[kind]
        made.append(Group(uuid.uuid4(), n + 1, messages))
    return made


@st.composite
def own_steps(draw: st.DrawFn) -> list[StepView]:
    """What the present turn did so far."""
    steps = [StepView(0, [], [])]
    for number in range(1, draw(st.integers(0, 6)) + 1):
        followups = [person(f"f{number}", after_step=number)] if draw(st.booleans()) else []
        steps.append(StepView(number, call(f"s{number}", draw(SIZES)), followups))
    return steps


LIMITS = st.sampled_from([Limits(0, 0), Limits(500, 300), Limits(8000, 5000), Limits(10**6, 10**5)])
PRESENT = st.sampled_from([Shortened(), Shortened(1, 2, 8000), Shortened(2, 3, 0)])


@hypothesis_settings(deadline=None, max_examples=150)
@given(
    before=groups(), steps=own_steps(), told=st.sampled_from([None, "", "Before."]), limits=LIMITS, present=PRESENT
)
def test_what_is_left_keeps_its_question_its_order_and_every_call_with_its_result(
    before: list[Group], steps: list[StepView], told: str | None, limits: Limits, present: Shortened
) -> None:
    question = person("the question")
    earlier = Earlier(list(before), [question], summary=told)
    was = [*earlier.preamble(), question, *present.flatten(steps)]
    found = plan(earlier, steps, present, fixed=50, limits=limits, summary=100)
    if found is None:
        return
    assert [*found.covered, *found.kept] == before
    view = read(earlier, found, steps)
    assert view.count(question) == 1
    assert [message for message in view if message.after_step] == [f for step in steps for f in step.followups]
    assert all(message.parts for message in view)
    answered(view)
    assert [text for text in texts(view) if text not in texts(was)] == (["A summary."] if found.covered else [])
    if found.covered and found.kept:
        assert found.kept[0].messages[0].role == "user"
    if found.shortened != present:
        assert found.shortened.noted >= present.noted
        assert tokens_of(found.shortened.flatten(steps)) < tokens_of(present.flatten(steps))


def read(earlier: Earlier, found: Plan, steps: list[StepView]) -> list[ModelMessage]:
    """What the model reads from then on."""
    told = "A summary." if found.covered else earlier.summary
    left = Earlier(list(found.kept), earlier.question, summary=told)
    return left.preamble() + left.question + found.shortened.flatten(steps)


def texts(view: list[ModelMessage]) -> list[str]:
    """What was said, a summary as it was written."""
    return ["A summary." if "A summary." in message.text() else message.text() for message in view]


def answered(view: list[ModelMessage]) -> None:
    """Each call has its result right behind it, and no result stands alone."""
    for place, message in enumerate(view):
        calls = [part.id for part in message.parts if isinstance(part, ToolCallPart)]
        got = [part.id for part in message.parts if isinstance(part, ToolResultPart)]
        if calls:
            assert [part.id for part in view[place + 1].parts if isinstance(part, ToolResultPart)] == calls
        if got:
            assert [part.id for part in view[place - 1].parts if isinstance(part, ToolCallPart)] == got


def test_the_newest_messages_stay_word_for_word() -> None:
    before = [Group(uuid.uuid4(), n, [person(f"{n} " + "x" * 800)]) for n in range(1, 11)]
    found = plan(Earlier(before, [person("?")]), [], Shortened(), fixed=0, limits=Limits(1600, 1000), summary=100)
    assert found is not None
    assert [group.seq for group in found.kept] == [7, 8, 9, 10]


def test_nothing_is_left_out_of_what_fits() -> None:
    before = [Group(uuid.uuid4(), 1, [person("x" * 800)])]
    found = plan(Earlier(before, [person("?")]), [], Shortened(), fixed=0, limits=Limits(1600, 1000), summary=100)
    assert found is None


@pytest.mark.parametrize(
    ("configured", "model", "window"),
    [
        (5000, "openai/gpt-4o", 5000),
        (0, "openai/gpt-4o", 128_000),
        (0, "demo/demo", None),
        (0, "openai/nobody", None),
    ],
    ids=["configured", "catalogue", "demo", "unknown"],
)
def test_the_window_is_what_the_operator_says_else_the_catalogues(
    settings: Settings, configured: int, model: str, window: int | None
) -> None:
    settings.COPILOT_CONTEXT_TOKENS = configured
    assert room.window_of(model) == window


@pytest.mark.parametrize(
    ("window", "answer", "full", "roomy"),
    [(1000, 0, 800, 500), (1000, 300, 700, 500), (1000, 900, 500, 500)],
    ids=["any answer", "a long answer", "an answer of nearly all"],
)
def test_room_is_left_for_the_answer(window: int, answer: int, full: int, roomy: int) -> None:
    assert Limits.of(window, answer) == Limits(full, roomy)
