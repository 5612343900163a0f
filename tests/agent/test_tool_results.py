"""What a model reads of results, which tools it is offered, and what a call has to wait for."""

from __future__ import annotations

import logging
import os
import threading
import uuid
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from common.db import db
from copilot.agent import calls, history, results, verdicts
from copilot.agent.results import TEXT_MAX, path_of, result_text
from copilot.diagnostics import invariants
from copilot.models import Session, ToolCall, Turn
from copilot.providers.base import Stop, ToolCallDelta, ToolCallStart, ToolResultPart
from copilot.tools import budget, registry
from copilot.tools.base import Tool, ToolContext, object_schema
from copilot.tools.budget import DEFINITIONS_MAX, size_of, within_budget
from copilot.tools.calculator import Calculator
from copilot.tools.files import ReadFile
from copilot.workspaces import workspace_of
from tests.agent.test_shown_text import ask
from tests.factories import make_session
from tests.harness import Crew
from tests.tools.using import use


def read_by_model(crew: Crew) -> list[str]:
    """Return the results in the last request."""
    parts = [part for message in crew.requests[-1].messages for part in message.parts]
    return [part.output for part in parts if isinstance(part, ToolResultPart)]


async def calls_of(turn: Turn) -> list[ToolCall]:
    assert await db(invariants.check) == []
    return await db(lambda: list(ToolCall.objects.filter(turn=turn).order_by("step", "position")))


# --- long results --------------------------------------------------------------------------------


def answering(monkeypatch: pytest.MonkeyPatch, output: Any) -> None:
    """Have the calculator return this."""

    async def run(self: Tool, context: ToolContext, **arguments: Any) -> Any:
        return output

    monkeypatch.setattr(Calculator, "run", run)


@pytest.fixture
def data_dir(settings: Settings, tmp_path: Path) -> Path:
    """A folder of the test's own for workspaces."""
    settings.DATA_DIR = tmp_path
    return tmp_path


@pytest.mark.django_db(transaction=True)
async def test_of_a_long_result_the_model_reads_its_ends_and_finds_the_whole(
    crew: Crew, monkeypatch: pytest.MonkeyPatch, data_dir: Path
) -> None:
    lines = "".join(f"line {number}\n" for number in range(20_000))
    answering(monkeypatch, {"stdout": lines, "exit_code": 0})
    await crew.hire()
    turn = await crew.say('/tool calculator {"expression": "1"}\n/words 1')
    [call] = await calls_of(turn)
    [text] = read_by_model(crew)
    assert TEXT_MAX - 200 < len(text) <= TEXT_MAX
    assert path_of(call.id) in text
    assert ("line 0\\nline 1\\n" in text, "line 19999\\n" in text, "line 10000\\n" in text) == (True, True, False)
    # People and rows have it as it is; the file is read by lines.
    assert call.output == {"stdout": lines, "exit_code": 0}
    read = await use(ReadFile(), workspace_of(turn.session_id), path=path_of(call.id), offset=10_002, limit=1)
    assert read["text"] == "line 10000\n"
    file = workspace_of(turn.session_id) / path_of(call.id)
    assert await db(lambda: file.stat().st_mode & 0o777) == 0o600
    # In a later turn it reads the same, from the parts that were shown.
    await crew.say("/words 1", turn.session)
    assert read_by_model(crew) == [text]


@pytest.mark.django_db(transaction=True)
async def test_a_result_whose_file_cannot_be_written_is_a_result(
    crew: Crew, monkeypatch: pytest.MonkeyPatch, data_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    answering(monkeypatch, "x" * 80_000)
    monkeypatch.setattr(os, "replace", lambda *args, **kwargs: os.stat("/nowhere"))
    await crew.hire()
    with caplog.at_level(logging.WARNING, results.__name__):
        [call] = await calls_of(await crew.say('/tool calculator {"expression": "1"}\n/words 1'))
    assert (call.state, call.output) == ("done", "x" * 80_000)
    assert "a result was not kept" in caplog.text


@pytest.mark.parametrize("over", [0, 1])
def test_what_fits_goes_whole(over: int) -> None:
    text = result_text("x" * (TEXT_MAX + over), uuid.UUID(int=0))
    assert (text == "x" * TEXT_MAX) is not over
    assert len(text) <= TEXT_MAX


def test_escaping_does_not_make_it_longer_than_it_may_be() -> None:
    text = result_text("</server-note>" * (TEXT_MAX // 14), uuid.UUID(int=0))
    assert len(text) <= TEXT_MAX
    assert "<" not in text
    assert results.is_long("x" * (TEXT_MAX * 4 // 5))


@pytest.mark.django_db(transaction=True)
async def test_arguments_and_results_are_looked_at_beside_the_event_loop(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both may be long, and a schema somebody else's: all turns of the process would wait."""
    seen: dict[str, list[bool]] = {"problem_of": [], "is_long": [], "result_text": []}

    def watched(module: Any, name: str) -> None:
        original = getattr(module, name)

        def look(*args: Any, **kwargs: Any) -> Any:
            seen[name].append(threading.get_ident() == here)
            return original(*args, **kwargs)

        monkeypatch.setattr(module, name, look)

    watched(verdicts, "problem_of")
    watched(calls, "is_long")
    watched(history, "result_text")
    here = threading.get_ident()
    await crew.hire()
    [call] = await calls_of(await crew.say('/tool calculator {"expression": "1"}\n/words 1'))
    assert (call.state, seen) == ("done", {name: [False] for name in ("problem_of", "is_long", "result_text")})


# --- which tools are offered ---------------------------------------------------------------------


def test_the_definitions_of_all_tools_fit() -> None:
    tools = list(registry.TOOLS.values())
    assert sum(map(size_of, tools)) < DEFINITIONS_MAX / 2
    assert within_budget(tools) == tools


def test_tools_that_do_not_fit_are_left_out_from_the_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, settings: Settings
) -> None:
    settings.SHELL_SANDBOX = "disabled"
    tools = registry.offered_tools("openai/x", None)
    monkeypatch.setattr(budget, "DEFINITIONS_MAX", sum(map(size_of, tools)) - 1)
    budget._warn.cache_clear()
    with caplog.at_level(logging.WARNING, budget.__name__):
        assert registry.offered_tools("openai/x", None) == tools[:-1]
        assert registry.offered_tools("openai/x", None) == tools[:-1]
    assert [record.__dict__["tool"] for record in caplog.records] == [tools[-1].name]


def test_every_model_is_offered_what_is_promised(settings: Settings) -> None:
    settings.SHELL_SANDBOX = "unsafe_host"
    promised = [
        "current_time",
        "calculator",
        "ask_user",
        "list_files",
        "read_file",
        "write_file",
        "edit_file",
        "search_files",
    ]
    promised += ["fetch_url", "shell", "todo"]
    assert {tool.name for tool in registry.offered_tools("openai/x", None)} >= set(promised)
    # What only reads or calculates runs.
    assert [name for name in promised if registry.TOOLS[name].asks] == ["write_file", "edit_file", "shell"]


# --- guides --------------------------------------------------------------------------------------


class Guided(Tool):
    """Runs only after its guide was read."""

    name = "build_it"
    description = "Build it."
    parameters = object_schema(what={"type": "string"})
    idempotent = True
    requires = "calculator"

    async def run(self, context: ToolContext, **arguments: Any) -> Any:
        return "built"


@pytest.fixture
def guided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.TOOLS, "build_it", Guided())


BUILD = '/tool build_it {"what": "x"}'
GUIDE = '/tool calculator {"expression": "1"}'


def test_the_description_names_the_guide() -> None:
    assert Guided().spec().description == "Build it. Call calculator once before."


@pytest.mark.django_db(transaction=True)
async def test_a_tool_waits_for_its_guide(crew: Crew, guided: None) -> None:
    await crew.hire()
    session = await db(make_session)
    # Side by side, before, behind a failed one, and even with arguments that do not fit: not yet.
    turn = await crew.say(f"{BUILD}\n{GUIDE}\n/step\n/words 1", session)
    calls = await calls_of(turn)
    assert [call.state for call in calls] == ["error", "done"]
    assert "'build_it' runs only after 'calculator' has succeeded in this session." in calls[0].error
    # Once it has succeeded, in this turn or an earlier one, it runs.
    turn = await crew.say(f"{BUILD}\n/words 1", session)
    assert [(call.state, call.output) for call in await calls_of(turn)] == [("done", "built")]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("text", ['/tool calculator {"expression": "1/0"}', '/tool build_it {"what": 1}'])
async def test_only_a_guide_that_succeeded_counts(crew: Crew, guided: None, text: str) -> None:
    await crew.hire()
    turn = await crew.say(f"{text}\n/step\n{BUILD}\n/words 1")
    assert [call.state for call in await calls_of(turn)] == ["error", "error"]


@pytest.mark.django_db(transaction=True)
async def test_a_guide_of_another_session_does_not_count(crew: Crew, guided: None) -> None:
    await crew.hire()
    first = await crew.say(f"{GUIDE}\n/step\n{BUILD}\n/words 1")
    assert [call.state for call in await calls_of(first)] == ["done", "done"]
    other: Session = await db(lambda: make_session(first.session.user))
    assert [call.state for call in await calls_of(await crew.say(f"{BUILD}\n/words 1", other))] == ["error"]


# --- what providers repeat ------------------------------------------------------------------------


async def test_a_call_that_is_announced_again_has_one_card_and_one_row() -> None:
    answer, said = await ask(
        ToolCallStart(0, "call_1", "calculator"),
        ToolCallDelta(0, '{"a":'),
        ToolCallStart(0, "call_1", "calculator"),
        ToolCallDelta(0, " 1}"),
        ToolCallStart(1, "call_1", "calculator"),
        ToolCallDelta(1, '{"a": 1}'),
        ToolCallStart(2, "call_2", "calculator"),
        ToolCallDelta(2, '{"a": 1}'),
        Stop("tool-calls"),
    )
    assert [(call.provider_id, call.arguments) for call in answer.step.calls] == [
        ("call_1", {"a": 1}),
        ("call_2", {"a": 1}),
    ]
    assert [chunk["type"] for chunk in said.chunks].count("tool-input-start") == 2
    assert [item["id"] for item in answer.step.content] == ["call_1", "call_2"]


# --- arguments -----------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("call", "said"),
    [
        ('write_file {"path": "a"}', "'content' is a required property"),
        ('write_file {"path": 1, "content": ""}', "(path): 1 is not of type 'string'"),
        ('read_file {"path": "a", "line": 3}', "'line' was unexpected"),
        ('todo {"todos": [{"content": "x", "status": "soon"}]}', "(todos.0.status)"),
        ('read_file {"path": "../x"}', "without '..'"),
        ("no_such_tool {}", "There is no tool named 'no_such_tool'"),
    ],
)
async def test_a_call_that_cannot_run_says_why_and_asks_nobody(
    crew: Crew, data_dir: Path, call: str, said: str
) -> None:
    await crew.hire()
    turn = await crew.say(f"/tool {call}\n/words 1")
    assert turn.status == "completed"
    assert said in (await calls_of(turn))[0].error
    assert said in read_by_model(crew)[0]
    assert not await db((data_dir / "workspaces").exists)
