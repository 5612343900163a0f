"""The fault run's own checks: each finds what was planted, and nothing in a session where all is well."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from tests.process.clients import Chunk, Row
from tests.process.faultrun import line
from tests.process.faultrun.breaking import Breaker
from tests.process.faultrun.verdict import Evidence, Sent, problems

CALLS: dict[str, Any] = {"c1": "approve", "c2": "reject", "c3": "edit"}
Plant = Callable[[Evidence], object]


def rows(*texts: str, decided: str = "") -> list[Row]:
    """A log in which the model says these pieces of text, and an approval was decided."""
    chunks: list[Chunk] = [{"type": "text-start", "id": "1.1"}]
    chunks += [{"type": "text-delta", "id": "1.1", "delta": text} for text in texts]
    chunks += [{"type": "text-end", "id": "1.1"}, {"type": "finish", "finishReason": "stop"}]
    if decided:
        chunks.insert(-1, {"type": "data-approval-decided", "data": {"approval": {"id": decided}}})
    return list(enumerate(chunks, 1))


def called(tool: str, call: str, text: str) -> Chunk:
    """The part of a call that is done."""
    part = {"type": "dynamic-tool", "toolName": tool, "toolCallId": call, "input": {"text": text}}
    return {**part, "state": "output-available"}


def approval() -> dict[str, Any]:
    """One in which a call was approved as it was, one was refused and one edited."""
    asked = [{"tool_call_id": call, "arguments": {"text": text}} for call, text in zip(CALLS, "abc", strict=True)]
    decided = [{"tool_call_id": call, "type": kind} for call, kind in CALLS.items()]
    decided[2]["arguments"] = {"text": "d"}
    return {"id": "p1", "turn": "t1", "status": "decided", "requests": asked, "decisions": decided}


@pytest.fixture
def evidence() -> Evidence:
    """A session with two turns: the first answers one message, the second two; one more is held."""
    once, note = called("demo_once", "c0", "x"), called("demo_note", "c1", "a")
    found = Evidence("s")
    found.sent = [Sent("m1", "w1 w2"), Sent("m2", "w1"), Sent("m3", None, fails=True), Sent("m4", "w1")]
    found.messages = [
        {"id": "m1", "seq": 1, "role": "user", "turn": "t1", "parts": []},
        {"id": "a1", "seq": 2, "role": "assistant", "turn": "t1", "parts": [once, note]},
        {"id": "m2", "seq": 3, "role": "user", "turn": "t2", "parts": []},
        {"id": "m3", "seq": 4, "role": "user", "turn": "t2", "parts": []},
    ]
    found.queued = [{"id": "m4", "held": True}]
    found.turns = {
        "t1": {"status": "completed", "text": "w1 w2"},
        "t2": {"status": "failed", "text": "w1", "error": {"code": "auth"}},
    }
    log = rows("w1", " w2", decided="p1")
    found.logs = {"t1": list(log), "t2": rows("w1")}
    found.seen = {"t1": [list(log), list(log)], "t2": [rows("w1")]}
    found.lines, found.notes = ["x"], ["a", "d"]
    found.approvals, found.decided = {"p1": approval()}, {"p1": CALLS}
    return found


def test_nothing_is_wrong_where_all_is_well(evidence: Evidence) -> None:
    assert problems(evidence) == []


PLANTED: dict[str, tuple[Plant, str]] = {
    "a doubled event in a transcript": (
        lambda found: found.seen["t1"][1].insert(2, found.seen["t1"][1][1]),
        "given",
    ),
    "a missing event in a transcript": (lambda found: found.seen["t1"][0].pop(1), "given"),
    "a transcript without its end": (lambda found: found.seen["t2"][0].pop(), "given"),
    "a text that differs": (lambda found: found.turns["t1"].update(text="w1"), "another text"),
    "a lost message": (lambda found: found.queued.clear(), "accepted and is lost"),
    "a doubled message": (lambda found: found.messages.append({**found.messages[0], "seq": 9}), "2 times"),
    "a message delivered and held": (lambda found: found.queued.append({"id": "m1", "held": True}), "2 times"),
    "a message nobody sent": (lambda found: found.sent.pop(), "never accepted"),
    "another order": (lambda found: found.sent.reverse(), "typing order"),
    "a place twice": (lambda found: found.messages[3].update(seq=3), "not in order"),
    "a stranded message": (lambda found: found.queued[0].update(held=False), "not held"),
    "a turn without an end": (lambda found: found.turns["t1"].update(status="running"), "is running"),
    "two ends": (lambda found: found.logs["t1"].append((6, {"type": "finish"})), "terminal events"),
    "an end in the middle": (lambda found: found.logs["t2"].insert(1, (2, {"type": "abort"})), "terminal events"),
    "a gap in the log": (lambda found: found.logs["t1"].pop(2), "not dense"),
    "a stop that did not stop": (lambda found: found.stopped.add("t1"), "said to be stopped"),
    "a stop that nobody asked for": (
        lambda found: found.turns["t1"].update(status="cancelled"),
        "nobody stopped it",
    ),
    "a failure without a reason": (
        lambda found: found.turns["t1"].update(status="failed", error={"code": "unknown"}),
        "failed as unknown",
    ),
    "half an answer": (
        lambda found: (found.turns["t1"].update(text="w1"), found.logs.update(t1=rows("w1"))),
        "asked for was",
    ),
    "a turn that nobody asked for": (lambda found: found.messages.pop(0), "answers nothing"),
    "an effect twice": (lambda found: found.lines.append("x"), "written 2 times"),
    "an effect that did not happen": (lambda found: found.lines.clear(), "was not written"),
    "an approved call that ran twice": (lambda found: found.notes.append("a"), "written 2 times"),
    "an approved call that did not run": (lambda found: found.notes.remove("a"), "written 0 times"),
    "a refused call that ran": (lambda found: found.notes.append("b"), "nobody approved it"),
    "an edited call that ran as it was": (lambda found: found.notes.append("c"), "nobody approved it"),
    "a call that ran while nobody had decided": (
        lambda found: found.approvals["p1"].update(status="expired", decisions=[]),
        "nobody approved it",
    ),
    "an approval that nobody waits for": (
        lambda found: found.approvals["p1"].update(status="pending"),
        "is pending",
    ),
    "a decision that was lost": (lambda found: found.approvals["p1"].update(decisions=[]), "told otherwise"),
    "a decision that nobody made": (lambda found: found.decided.clear(), "told otherwise"),
    "a decision that pages never saw": (lambda found: found.logs["t1"].pop(4), "in the log 0 times"),
    "an expiry of nothing": (
        lambda found: found.turns["t1"].update(status="cancelled", error={"code": "approval_expired"}),
        "no approval of it is",
    ),
}


def test_a_call_of_which_the_outcome_is_not_known_may_have_run_or_not(evidence: Evidence) -> None:
    note = evidence.messages[1]["parts"][1]
    note.update(state="output-error", errorText="It is not known whether the call had its effect.")
    assert problems(evidence) == []
    evidence.notes.remove("a")
    assert problems(evidence) == []
    evidence.notes += ["a", "a"]
    assert problems(evidence) != []


@pytest.mark.parametrize("planted", PLANTED)
def test_what_is_planted_is_found(evidence: Evidence, planted: str) -> None:
    plant, sentence = PLANTED[planted]
    plant(evidence)
    assert any(sentence in found for found in problems(evidence)), problems(evidence)


def test_the_line_reads_commands_in_pieces() -> None:
    whole = line.encode([b"PUBLISH", b"asgi__group__turn.1", b"a\r\nb"])
    assert all(line.parse(whole[:end]) is None for end in range(len(whole)))
    assert line.parse(whole + b"*1") == ([b"PUBLISH", b"asgi__group__turn.1", b"a\r\nb"], len(whole))


def test_the_line_loses_and_doubles_hints_and_deliveries_and_nothing_else() -> None:
    hint, delivery = [b"PUBLISH", b"asgi__group__workers", b"x"], [b"LPUSH", b"celery", b"y"]
    assert [line.kind_of(each) for each in (hint, delivery)] == ["hint", "delivery"]
    assert [line.kind_of(each) for each in ([b"GET", b"asgi"], [b"LPUSH", b"unacked", b"y"])] == ["", ""]
    assert line.doubled(delivery) == [b"LPUSH", b"celery", b"y", b"y"]
    assert line.doubled(hint)[2:] == [b"1", b"asgi__group__workers", b"x"]
    assert b"celery" not in line.lost(delivery)


def test_a_seed_repeats_its_plan() -> None:
    async def nothing() -> None: ...

    def plan(seed: int) -> list[tuple[float, str]]:
        breaker = Breaker({"a": nothing, "b": nothing, "c": nothing}, random.Random(seed), pause=1, at_once=1)
        steps = breaker.plan()
        return [next(steps) for _ in range(6)]

    assert plan(1) == plan(1) != plan(2)
    assert sorted(kind for _, kind in plan(1)[:3]) == ["a", "b", "c"]
