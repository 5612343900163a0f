"""What a run says of the events of a turn, one by one."""

from __future__ import annotations

import uuid
from typing import Any

from chat.agui.conversation import Conversation, before_answer
from chat.agui.speech import Speech
from copilot.events import schema
from copilot.events.schema import Chunk
from tests.agui.conftest import Event, check, of, text_of

TURN = uuid.UUID(int=1)
ABOUT = {"threadId": "t", "runId": "r"}
USAGE = dict.fromkeys(
    ("input_tokens", "output_tokens", "reasoning_tokens", "cache_read_tokens", "cache_write_tokens"), 1
)
ASKED: Event = {"id": "u", "role": "user", "content": "?"}


def part(kind: str, name: str, *deltas: str) -> list[Chunk]:
    inside = [schema.part_delta(kind, name, delta) for delta in deltas]
    return [schema.part_start(kind, name), *inside, schema.part_end(kind, name)]


def call(name: str, arguments: Any) -> list[Chunk]:
    return [schema.tool_input_start(name, "shell"), schema.tool_input_available(name, "shell", arguments)]


def run(*chunks: Chunk, messages: Any = (ASKED,), end: bool = True) -> list[Event]:
    speech = Speech(TURN, ABOUT, Conversation(list(messages)))
    events: list[Event] = [{"type": "RUN_STARTED"}]
    for seq, chunk in enumerate(chunks, 1):
        events += speech.take(seq, chunk)
    events += speech.finish(USAGE) if end else []
    check(events)
    return events


def test_a_stopped_turn_ends_whatever_is_open() -> None:
    events = run(
        schema.start_step(),
        schema.part_start("text", "1"),
        schema.part_delta("text", "1", "so f"),
        schema.tool_input_start("c", "shell"),
        schema.abort("stopped"),
        end=False,
    )
    assert events[-1]["outcome"] == {"type": "cancelled"}
    assert {"TEXT_MESSAGE_END", "TOOL_CALL_END", "STEP_FINISHED"} <= {event["type"] for event in events}


def test_a_failed_turn_has_its_code_and_nothing_behind() -> None:
    events = run(schema.start_step(), schema.data("error", {"code": "quota"}), schema.error("Empty."), end=False)
    assert events[-1] == {"type": "RUN_ERROR", "message": "Empty.", "code": "quota"}


def test_texts_without_a_word_are_not_told() -> None:
    assert [event["type"] for event in run(*part("text", "1"), *part("reasoning", "2", ""))][1:-1] == []


def test_calls_belong_to_the_text_of_their_step() -> None:
    first = [schema.start_step(), *part("text", "1", "a"), *call("c", {}), *call("d", {})]
    events = run(*first, schema.start_step(), *call("e", {}), *call("f", {}))
    parents = [event["parentMessageId"] for event in of(events, "TOOL_CALL_START")]
    assert parents == [f"{TURN}.1", f"{TURN}.1", "e", "e"]


def test_outcomes_of_calls_are_results() -> None:
    events = run(
        *call("c", {"command": "ls"}),
        schema.tool_output_available("c", "half", preliminary=True),
        schema.tool_output_available("c", {"stdout": "x"}),
        *call("d", {}),
        schema.tool_output_error("d", "broken"),
        *call("e", {}),
        schema.tool_output_denied("e", "no"),
        schema.tool_input_error("f", "shell", '{"comm', "cut off"),
    )
    results = [(each["content"], each.get("metadata")) for each in of(events, "TOOL_CALL_RESULT")]
    failed, denied = {"outcome": "error"}, {"outcome": "denied"}
    assert results == [('{"stdout": "x"}', None), ("broken", failed), ("no", denied), ("cut off", failed)]
    assert [each["delta"] for each in of(events, "TOOL_CALL_ARGS")] == ['{"command": "ls"}', "{}", "{}", '{"comm']


def test_what_was_taken_back_is_missing_in_the_snapshot() -> None:
    kept = [
        schema.start_step(),
        *part("text", "1", "kept"),
        *call("c", {}),
        schema.tool_output_available("c", "4"),
    ]
    gone = [schema.start_step(), *part("reasoning", "2", "hm"), *part("text", "3", "gone"), *call("d", {})]
    events = run(*kept, *gone, schema.rollback(len(kept)), schema.start_step(), *part("text", "4", "new"))
    [snapshot] = of(events, "MESSAGES_SNAPSHOT")
    function = {"name": "shell", "arguments": "{}"}
    assert snapshot["messages"] == [
        ASKED,
        {
            "id": f"{TURN}.1",
            "role": "assistant",
            "content": "kept",
            "toolCalls": [{"id": "c", "type": "function", "function": function}],
        },
        {"id": "c.result", "role": "tool", "toolCallId": "c", "content": "4"},
        {"id": f"{TURN}.2", "role": "reasoning", "content": ""},  # the client keeps what a snapshot has not
    ]
    assert text_of(events) == "keptgonenew"


def test_what_is_taken_back_in_the_middle_of_a_part_is_ended_first() -> None:
    cut = part("text", "1", "a")[:-1]
    events = run(schema.start_step(), *cut, schema.rollback(1), *part("text", "2", "b"))
    assert [event["type"] for event in events].index("TEXT_MESSAGE_END") < [
        event["type"] for event in events
    ].index("MESSAGES_SNAPSHOT")


def test_nothing_is_told_anew_when_nothing_was_taken_back() -> None:
    assert (
        of(run(schema.start_step(), schema.part_start("text", "1"), schema.rollback(1)), "MESSAGES_SNAPSHOT") == []
    )


def test_an_edited_call_is_told_by_a_snapshot() -> None:
    events = run(*call("c", {"text": "one"}), schema.tool_input_available("c", "shell", {"text": "two"}))
    [snapshot] = of(events, "MESSAGES_SNAPSHOT")
    assert snapshot["messages"][1]["toolCalls"][0]["function"]["arguments"] == '{"text": "two"}'


def test_what_an_earlier_run_told_is_passed_over() -> None:
    earlier = [schema.start_step(), *part("text", "1", "a"), *call("c", {"text": "one"})]
    function = {"name": "shell", "arguments": '{"text": "one"}'}
    calls = [{"id": "c", "type": "function", "function": function}]
    messages = [ASKED, {"id": f"{TURN}.1", "role": "assistant", "content": "a", "toolCalls": calls}]
    speech = Speech(TURN, ABOUT, Conversation(messages))
    events: list[Event] = [{"type": "RUN_STARTED"}]
    speech.pass_over(list(enumerate(earlier, 1)))
    for chunk in (
        schema.tool_input_available("c", "shell", {"text": "two"}),
        schema.tool_output_available("c", "done"),
        schema.finish_step(),
        schema.start_step(),
        *part("text", "2", "b"),
    ):
        events += speech.take(9, chunk)
    events += speech.finish(USAGE)
    check(events)
    assert [event["type"] for event in events][1:3] == ["MESSAGES_SNAPSHOT", "TOOL_CALL_RESULT"]
    assert events[1]["messages"][1]["toolCalls"][0]["function"]["arguments"] == '{"text": "two"}'
    assert text_of(events) == "b"


def test_a_message_that_was_sent_elsewhere_is_told_and_the_clients_own_is_not() -> None:
    sent = {"id": "m", "parts": [{"type": "text", "text": "and this"}]}
    pending = schema.data("pending", {"message": sent, "next_message_id": "n"})
    mine = schema.data("pending", {"message": {**sent, "client_id": "u"}, "next_message_id": "n"})
    assert [event.get("role") for event in of(run(pending), "TEXT_MESSAGE_START")] == ["user"]
    assert of(run(mine), "TEXT_MESSAGE_START") == []


def test_a_pruned_log_has_the_stored_answer() -> None:
    parts = [
        {"type": "step-start"},
        {"type": "text", "text": "a", "state": "done"},
        {
            "type": "dynamic-tool",
            "toolName": "shell",
            "toolCallId": "c",
            "state": "output-available",
            "input": {},
            "output": 1,
        },
    ]
    events = run(schema.data("reset", {"parts": parts}))
    assert text_of(events) == "a"
    assert of(events, "TOOL_CALL_RESULT")[0]["content"] == "1"


def test_thoughts_behind_the_question_are_kept_empty() -> None:
    thought = {"id": "r", "role": "reasoning", "content": "hm"}
    said = {"id": "a", "role": "assistant", "content": "half"}
    early = {**thought, "id": "e"}
    assert before_answer([early, ASKED, thought, said], 2) == [early, ASKED, {**thought, "content": ""}]
