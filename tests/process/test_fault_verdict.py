"""The fault run's own checks: each finds what was planted, and nothing in a session where all is well."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tests.process.clients import Row
from tests.process.faultrun import line
from tests.process.faultrun.breaking import Breaker
from tests.process.faultrun.verdict import Evidence, Sent, problems

Plant = Callable[[Evidence], object]


def rows(*texts: str) -> list[Row]:
    """A log in which the model says these pieces of text."""
    chunks = [{"type": "text-start", "id": "1.1"}]
    chunks += [{"type": "text-delta", "id": "1.1", "delta": text} for text in texts]
    chunks += [{"type": "text-end", "id": "1.1"}, {"type": "finish", "finishReason": "stop"}]
    return list(enumerate(chunks, 1))


@pytest.fixture
def evidence() -> Evidence:
    """A session with two turns: the first answers one message, the second two; one more is held."""
    call = {"type": "dynamic-tool", "toolName": "demo_once", "state": "output-available", "input": {"text": "x"}}
    found = Evidence("s")
    found.sent = [Sent("m1", "w1 w2"), Sent("m2", "w1"), Sent("m3", None, fails=True), Sent("m4", "w1")]
    found.messages = [
        {"id": "m1", "seq": 1, "role": "user", "turn": "t1", "parts": []},
        {"id": "a1", "seq": 2, "role": "assistant", "turn": "t1", "parts": [call]},
        {"id": "m2", "seq": 3, "role": "user", "turn": "t2", "parts": []},
        {"id": "m3", "seq": 4, "role": "user", "turn": "t2", "parts": []},
    ]
    found.queued = [{"id": "m4", "held": True}]
    found.turns = {
        "t1": {"status": "completed", "text": "w1 w2"},
        "t2": {"status": "failed", "text": "w1", "error": {"code": "auth"}},
    }
    found.logs = {"t1": rows("w1", " w2"), "t2": rows("w1")}
    found.seen = {"t1": [rows("w1", " w2"), rows("w1", " w2")], "t2": [rows("w1")]}
    found.lines = ["x"]
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
}


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
