"""What a turn's events add up to."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from copilot.events import schema
from copilot.events.fold import Event, Transcript, standing
from copilot.events.schema import Chunk


def numbered(*chunks: Chunk) -> list[Event]:
    return list(enumerate(chunks, 1))


def parts(*chunks: Chunk) -> list[Chunk]:
    """Return the parts of the one message of these chunks."""
    return Transcript.of(numbered(schema.start("m"), *chunks)).parts_of("m")


TEXT = (
    schema.part_start("text", "t"),
    schema.part_delta("text", "t", "Hel"),
    schema.part_delta("text", "t", "lo"),
)
CALL = schema.tool_input_available("c", "calculator", {"expression": "1"})
CALLED = {
    "type": "dynamic-tool",
    "toolName": "calculator",
    "toolCallId": "c",
    "state": "input-available",
    "input": {"expression": "1"},
}


def test_text() -> None:
    assert parts(*TEXT, schema.part_end("text", "t")) == [{"type": "text", "text": "Hello", "state": "done"}]


def test_text_without_an_end_shows_what_there_is() -> None:
    assert parts(*TEXT) == [{"type": "text", "text": "Hello", "state": "streaming"}]


def test_steps_and_reasoning() -> None:
    chunks = [
        schema.start_step(),
        schema.part_start("reasoning", "r"),
        schema.part_delta("reasoning", "r", "Hm"),
        schema.part_end("reasoning", "r"),
        schema.finish_step(),
        schema.start_step(),
        *TEXT,
        schema.part_end("text", "t"),
    ]
    assert [(part["type"], part.get("text")) for part in parts(*chunks)] == [
        ("step-start", None),
        ("reasoning", "Hm"),
        ("step-start", None),
        ("text", "Hello"),
    ]


@pytest.mark.parametrize(
    ("outcome", "shown"),
    [
        ([], {}),
        ([schema.tool_output_available("c", 1)], {"state": "output-available", "output": 1}),
        ([schema.tool_output_available("c", None)], {"state": "output-available", "output": None}),
        ([schema.tool_output_error("c", "no")], {"state": "output-error", "errorText": "no"}),
        (
            [schema.tool_output_denied("c", "Not on a Sunday.")],
            {"state": "output-denied", "approval": {"id": "c", "approved": False, "reason": "Not on a Sunday."}},
        ),
        ([schema.tool_output_denied("c")], {"state": "output-denied", "approval": {"id": "c", "approved": False}}),
        ([schema.tool_output_available("c", "10 %", preliminary=True)], {"output": "10 %", "preliminary": True}),
        (
            [schema.tool_output_available("c", "10 %", preliminary=True), schema.tool_output_available("c", 1)],
            {"state": "output-available", "output": 1},
        ),
    ],
)
def test_calls(outcome: list[Chunk], shown: Chunk) -> None:
    assert parts(schema.tool_input_start("c", "calculator"), CALL, *outcome) == [{**CALLED, **shown}]


def test_a_call_shows_where_it_began_and_only_with_its_input() -> None:
    begun = [schema.tool_input_start("c", "calculator"), schema.tool_input_delta("c", "{")]
    said = [*TEXT, schema.part_end("text", "t")]
    text = {"type": "text", "text": "Hello", "state": "done"}
    assert parts(*begun, *said) == [text]
    assert parts(*begun, *said, CALL) == [CALLED, text]


def test_a_call_that_was_cut_off_shows_what_there_was_of_it() -> None:
    begun = [
        schema.tool_input_start("c", "calculator"),
        schema.tool_input_delta("c", '{"expres'),
        schema.tool_input_delta("c", 'sion": "1'),
    ]
    transcript = Transcript.of(numbered(schema.start("m"), *begun))
    closing = transcript.closing(tool_error="Stopped.")
    cut = '{"expression": "1'
    assert closing == [schema.tool_input_error("c", "calculator", cut, "Stopped.")]
    assert parts(*begun, *closing) == [{**CALLED, "state": "output-error", "input": cut, "errorText": "Stopped."}]
    assert transcript.calls == {}, "it never came to be"


def test_chunks_that_show_nothing() -> None:
    others = [
        schema.data("usage", {"input_tokens": 1}),
        schema.status("retrying"),
        {"type": "new-in-the-future", "id": "x"},
        {"type": "new-delta", "id": "x", "delta": "y"},
        schema.tool_output_available("unknown", 1),
        schema.part_delta("text", "unknown", "x"),
    ]
    assert parts(*others) == []


def test_a_rollback_takes_back_what_came_after() -> None:
    events = numbered(schema.start("m"), CALL, *TEXT, schema.rollback(2), *TEXT)
    assert [seq for seq, _ in standing(events)] == [1, 2, 7, 8, 9]
    assert Transcript.of(events).parts_of("m") == [CALLED, {"type": "text", "text": "Hello", "state": "streaming"}]


def test_rollbacks_may_go_back_over_rollbacks() -> None:
    events = numbered(schema.start("m"), *TEXT, schema.rollback(1), *TEXT, schema.rollback(0), schema.start("m2"))
    assert Transcript.of(events).messages == {"m2": []}


def test_messages_are_apart_and_their_texts_together() -> None:
    events = numbered(
        schema.start("m"), *TEXT, schema.part_end("text", "t"), schema.start("n"), schema.part_start("text", "u"),
        schema.part_delta("text", "u", "!"),
    )  # fmt: skip
    transcript = Transcript.of(events)
    assert list(transcript.messages) == ["m", "n"]
    assert [part["text"] for part in transcript.parts_of("n")] == ["!"]
    assert transcript.text == "Hello!"


def test_the_terminal_chunk() -> None:
    assert Transcript.of(numbered(schema.start("m"))).terminal is None
    assert Transcript.of(numbered(schema.start("m"), schema.abort("stopped"))).terminal == schema.abort("stopped")


def test_closing_ends_what_is_open_and_nothing_else() -> None:
    done = schema.tool_input_available("d", "current_time", {})
    events = numbered(
        schema.start("m"), CALL, done, schema.tool_output_available("d", 1), *TEXT,
        schema.tool_output_available("c", "10 %", preliminary=True),
    )  # fmt: skip
    transcript = Transcript.of(events)
    closing = transcript.closing(tool_error="Stopped.")
    assert closing == [schema.part_end("text", "t"), schema.tool_output_error("c", "Stopped.")]
    for chunk in closing:
        transcript.apply(chunk)
    assert transcript.closing(tool_error="Stopped.") == []


# --- any turn, cut anywhere -----------------------------------------------------------------


@dataclass
class Script:
    """Chunks as a worker emits them, and the places to which it may roll back."""

    chunks: list[Chunk] = field(default_factory=list)
    sealed: int = 0
    parts: int = 0

    def add(self, *chunks: Chunk) -> None:
        self.chunks += chunks

    def begin(self) -> None:
        self.add(schema.finish_step() if self.sealed else schema.start("m"), schema.start_step())

    def part(self, kind: str, deltas: list[str]) -> None:
        self.parts += 1
        name = f"p{self.parts}"
        self.add(schema.part_start(kind, name), *(schema.part_delta(kind, name, text) for text in deltas))
        self.add(schema.part_end(kind, name))

    def call(self, name: str) -> None:
        self.add(schema.tool_input_start(name, "calculator"), schema.tool_input_delta(name, "{}"))

    def seal(self, calls: list[str]) -> None:
        self.add(*(schema.tool_input_available(call, "calculator", {}) for call in calls))
        self.sealed = len(self.chunks)


@st.composite
def turns(draw: st.DrawFn) -> list[Chunk]:
    """A turn of some steps, each perhaps tried several times."""
    script = Script()
    deltas = st.lists(st.text(max_size=3), max_size=3)
    for step in range(draw(st.integers(1, 3))):
        for attempt in range(draw(st.integers(1, 3))):
            if attempt:
                script.add(schema.rollback(script.sealed), schema.status("retrying"))
            script.begin()
            for kind in draw(st.lists(st.sampled_from(["text", "reasoning"]), max_size=3)):
                script.part(kind, draw(deltas))
            calls = [f"c{step}.{attempt}.{n}" for n in range(draw(st.integers(0, 2)))]
            for call in calls:
                script.call(call)
        script.seal(calls)
        for call in draw(st.permutations(calls)):
            script.add(schema.tool_output_available(call, "…", preliminary=True))
            script.add(
                draw(st.sampled_from([schema.tool_output_available(call, 1), schema.tool_output_denied(call)]))
            )
            script.sealed = len(script.chunks)
    return script.chunks


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(turns(), st.integers(0, 200))
def test_a_turn_cut_anywhere_is_closed_completely(chunks: list[Chunk], cut: int) -> None:
    events = numbered(*chunks)[: cut % (len(chunks) + 1)]
    transcript = Transcript.of(events)
    closing = transcript.closing(tool_error="Stopped.")
    whole = [chunk for _, chunk in standing(events)] + closing
    open_part = None
    calls: dict[str, bool] = {}
    begun: set[str] = set()
    texts: dict[str, str] = {}
    for chunk in whole:
        kind = chunk["type"]
        if kind in ("text-start", "reasoning-start"):
            assert open_part is None, "parts never interleave"
            open_part = chunk["id"]
            texts[open_part] = ""
        elif kind in ("text-delta", "reasoning-delta"):
            assert chunk["id"] == open_part
            texts[open_part] += chunk["delta"]
        elif kind in ("text-end", "reasoning-end"):
            assert chunk["id"] == open_part
            open_part = None
        elif kind == "tool-input-start":
            begun.add(chunk["toolCallId"])
        elif kind == "tool-input-error":
            begun.remove(chunk["toolCallId"])
        elif kind == "tool-input-available":
            begun.remove(chunk["toolCallId"])
            calls[chunk["toolCallId"]] = False
        elif kind.startswith("tool-output") and not chunk.get("preliminary"):
            assert calls[chunk["toolCallId"]] is False, "one outcome a call"
            calls[chunk["toolCallId"]] = True
    assert open_part is None
    assert not begun, "every input has its end"
    assert all(calls.values())
    for chunk in closing:
        transcript.apply(chunk)
    shown = transcript.parts_of("m")
    assert [part["text"] for part in shown if "text" in part] == list(texts.values())
    assert {part.get("state", "done") for part in shown} <= {
        "done",
        "output-available",
        "output-denied",
        "output-error",
    }
    assert Transcript.of(numbered(*[chunk for _, chunk in events], *closing)).parts_of("m") == shown
