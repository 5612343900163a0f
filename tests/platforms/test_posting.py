"""The messages of an answer end with its whole text, whatever the platform does meanwhile."""

from __future__ import annotations

import asyncio

import pytest

from linking.platforms import posting
from linking.platforms.base import Place, Refused, TooFast, Unavailable
from linking.platforms.pacing import REMEMBERED, Pace
from linking.platforms.posting import Posting
from tests.platforms.recorder import Recorder

PLACE = Place("user", "1")


def _posting(platform: Recorder, written: list[str] | None = None) -> tuple[Posting, list[list[str]]]:
    changes: list[list[str]] = []
    return Posting(platform, Pace(), PLACE, written=written, on_change=changes.append), changes


async def test_it_edits_one_message_as_the_text_grows() -> None:
    platform = Recorder()
    answer, changes = _posting(platform)
    for text in ("one", "one two", "one two three"):
        answer.show([text])
        await answer.level()
    await answer.settle(["one two three."])
    assert platform.writes == ["send one", "edit one two", "edit one two three", "edit one two three."]
    assert changes == [["m1"]]


async def test_what_came_too_fast_is_left_out_and_the_end_is_not() -> None:
    platform = Recorder()
    answer, _ = _posting(platform)
    for n in range(50):
        answer.show([f"text {n}"])
    await answer.settle(["the end"])
    assert platform.writes == ["send the end"]


@pytest.mark.parametrize("error", [TooFast(0.001), Unavailable("502")], ids=["too-fast", "unavailable"])
async def test_a_write_that_failed_is_made_again(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posting, "AGAIN_SECONDS", 0.001)
    platform = Recorder(fails=[error, error])  # type: ignore[list-item]
    answer, _ = _posting(platform)
    await answer.settle(["text"])
    assert platform.writes == ["send text"]


async def test_it_gives_up_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posting, "AGAIN_SECONDS", 0.0)
    platform = Recorder(fails=[Unavailable("502")] * (posting.TRIES + 1))
    answer, _ = _posting(platform)
    await answer.settle(["text"])
    assert platform.writes == []


async def test_a_chat_that_is_gone_holds_nobody_up() -> None:
    platform = Recorder(fails=[Refused("kicked")])
    answer, _ = _posting(platform)
    answer.show(["text"])
    await answer.level()
    await answer.settle(["text and more"])
    assert platform.writes == []


async def test_a_message_that_somebody_took_away_is_not_written_again() -> None:
    platform = Recorder()
    answer, _ = _posting(platform)
    answer.show(["a" * 90])
    await answer.level()
    platform.fails = [Refused("gone")]
    await answer.settle(["b" * 90 + "\n\n" + "c" * 90])
    assert platform.writes == ["send " + "a" * 90, "send " + "c" * 90]


async def test_messages_that_are_too_many_at_the_end_are_taken_away() -> None:
    platform = Recorder()
    answer, changes = _posting(platform)
    answer.show(["a" * 90, "b" * 90, "c" * 90])
    await answer.level()
    answer.show(["x"])  # it may grow again
    await answer.level()
    assert len(platform.texts) == 3
    await answer.settle(["x"])
    assert list(platform.texts.values()) == ["x"]
    assert changes[-1] == ["m1"]


async def test_what_an_earlier_run_wrote_is_written_on() -> None:
    platform = Recorder(texts={"m1": "old", "m2": "older"})
    answer, _ = _posting(platform, ["m1", "m2"])
    await answer.settle(["a" * 90, "b"])
    assert platform.texts == {"m1": "a" * 90, "m2": "b"}


class _Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


async def test_writes_of_one_chat_are_apart_and_others_do_not_wait() -> None:
    clock = _Clock()
    pace = Pace(clock=lambda: clock.now, sleep=clock.sleep)
    times = []
    for _ in range(3):
        await pace.wait("a", 2.0)
        times.append(clock.now)
    assert times == [100.0, 102.0, 104.0]
    await pace.wait("b", 2.0)
    assert clock.now == 104.0


async def test_what_a_platform_says_of_its_limit_counts() -> None:
    clock = _Clock()
    pace = Pace(clock=lambda: clock.now, sleep=clock.sleep)
    await pace.wait("a", 1.0)
    pace.hold("a", 30.0)
    await pace.wait("a", 1.0)
    assert clock.now == 130.0


async def test_all_writes_together_are_apart_too() -> None:
    clock = _Clock()
    pace = Pace(overall=0.5, clock=lambda: clock.now, sleep=clock.sleep)
    for key in "abc":
        await pace.wait(key, 1.0)
    assert clock.now == 101.0


async def test_some_writes_may_be_quick_if_there_were_few_before() -> None:
    clock = _Clock()
    pace = Pace(sustained=3.0, burst=4, clock=lambda: clock.now, sleep=clock.sleep)
    times = []
    for _ in range(8):
        await pace.wait("a", 1.0)
        times.append(clock.now - 100)
    assert times == [0, 1, 2, 3, 4, 5, 6, 9]
    clock.now += 60
    before = clock.now
    for _ in range(3):
        await pace.wait("a", 1.0)
    assert clock.now - before == 2


async def test_chats_of_the_past_are_forgotten() -> None:
    clock = _Clock()
    pace = Pace(clock=lambda: clock.now, sleep=clock.sleep)
    for n in range(3 * REMEMBERED):
        clock.now += 1
        await pace.wait(n, 1.0)
    assert len(pace._free) <= REMEMBERED + 1


async def test_a_chat_that_must_wait_for_long_holds_up_no_other() -> None:
    clock, long = _Clock(), asyncio.Event()

    async def sleep(seconds: float) -> None:
        if seconds > 100:
            await long.wait()
        await clock.sleep(seconds)

    pace = Pace(overall=0.5, clock=lambda: clock.now, sleep=sleep)
    pace.hold("slow", 300.0)
    slow = asyncio.create_task(pace.wait("slow", 1.0))
    await asyncio.sleep(0)  # it has begun to wait
    async with asyncio.timeout(5):
        await pace.wait("quick", 1.0)
    assert clock.now == 100.0
    slow.cancel()
