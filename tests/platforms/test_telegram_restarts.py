"""The adapter ends, at once or in order, and comes back: nothing is lost and nothing shown twice."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path
from typing import Any

import pytest

from linking.platforms.base import Place, SetupError
from linking.platforms.memory import RECENT, Memory, Shown
from tests.platforms.conftest import ADA, Bots
from tests.platforms.holdfast_stand_in import HoldfastStandIn
from tests.platforms.telegram_stand_in import TelegramStandIn


async def test_an_answer_goes_on_in_the_same_message_after_a_restart(
    bots: Bots, chats: TelegramStandIn, holdfast: HoldfastStandIn, ada: dict[str, Any]
) -> None:
    async with bots.running():
        await chats.writes(ada, "tell me")
        turn = await holdfast.turn()
        await turn.emit({"type": "text-start", "id": "t"}, {"type": "text-delta", "id": "t", "delta": "Once"})
        first = await chats.says(ADA, "Once")
    await turn.emit({"type": "text-delta", "id": "t", "delta": " upon a time."}, {"type": "text-end", "id": "t"})
    await turn.ends()
    async with bots.running():
        await chats.says(ADA, "Once upon a time.")
        async with asyncio.timeout(5):
            while Memory(bots.path).shown:  # noqa: ASYNC110 # a file tells nobody that it changed
                await asyncio.sleep(0)
    assert chats.messages(ADA) == [first]
    assert bots.said[-1].startswith("@stand_in_bot asks for updates. 1 answers go on.")


async def test_an_approval_is_asked_once_and_its_button_works_after_a_restart(
    bots: Bots, chats: TelegramStandIn, holdfast: HoldfastStandIn, ada: dict[str, Any]
) -> None:
    request = {
        "tool_call_id": "c1",
        "name": "demo_note",
        "arguments": {},
        "allowed_decisions": ["approve", "reject"],
    }
    async with bots.running():
        await chats.writes(ada, "note it")
        turn = await holdfast.turn()
        await turn.asks(requests=[request])
        card = await chats.says(ADA, "Approval needed")
    async with bots.running():
        await chats.presses(ada, card, "✅ Approve")
        await chats.says(ADA, "Decided by ada")
        await turn.says("Done.")
        await turn.ends()
        await chats.says(ADA, "Done.")
    assert [each.text.split("\n")[0] for each in chats.messages(ADA)] == ["Decided by ada.", "Done."]


async def test_a_message_is_confirmed_only_once_holdfast_has_it(
    bots: Bots, chats: TelegramStandIn, holdfast: HoldfastStandIn, ada: dict[str, Any]
) -> None:
    holdfast.down = True
    async with bots.running():
        await chats.writes(ada, "hello")
        before = holdfast.turned_away
        await holdfast.until(lambda: holdfast.turned_away > before + 2)
    assert chats.unconfirmed == 1
    assert holdfast.sent == []
    holdfast.down = False
    async with bots.running():
        turn = await holdfast.turn()
        await chats.until("a confirmation", lambda: chats.unconfirmed == 0)
        await turn.says("Hello!")
        await turn.ends()
        await chats.says(ADA, "Hello!")
    assert [sent["text"] for sent in holdfast.sent] == ["hello"]


@pytest.mark.parametrize("file_survives", [True, False], ids=["kept", "lost"])
async def test_a_message_that_comes_twice_is_one_turn(
    bots: Bots, chats: TelegramStandIn, holdfast: HoldfastStandIn, ada: dict[str, Any], file_survives: bool
) -> None:
    async with bots.running():
        message = await chats.writes(ada, "hello")
        turn = await holdfast.turn()
        await turn.says("Hello!")
        await turn.ends()
        await chats.says(ADA, "Hello!")
        await chats.update(message=message)
        await chats.until("a confirmation", lambda: chats.unconfirmed == 0)
    if not file_survives:
        bots.path.unlink()
    async with bots.running():
        await chats.update(message=message)
        await chats.until("a confirmation", lambda: chats.unconfirmed == 0)
    assert len(holdfast.sent) == 1
    # Without its file the adapter cannot know that the answer stands there already.
    assert len(chats.messages(ADA)) <= (1 if file_survives else 2)


async def test_a_bad_token_stops_the_start_with_one_line(bots: Bots) -> None:
    bots.settings["TELEGRAM_TOKEN"] = "wrong"
    with pytest.raises(SetupError, match=r"^TELEGRAM_TOKEN: Telegram refuses it"):
        async with bots.running():
            pass


async def test_telegram_may_be_away_at_the_start_and_later(
    bots: Bots, chats: TelegramStandIn, holdfast: HoldfastStandIn, ada: dict[str, Any]
) -> None:
    chats.fails["getMe"] = [502, 502]
    chats.fails["getUpdates"] = [502, 409, 500]
    chats.fails["sendMessage"] = [500, 500]
    chats.fails["editMessageText"] = [502]
    async with bots.running():
        await chats.writes(ada, "hello")
        turn = await holdfast.turn()
        await turn.emit({"type": "text-start", "id": "t"}, {"type": "text-delta", "id": "t", "delta": "Hel"})
        await chats.says(ADA, "Hel")
        await turn.emit({"type": "text-delta", "id": "t", "delta": "lo!"}, {"type": "text-end", "id": "t"})
        await turn.ends()
        await chats.says(ADA, "Hello!")
    assert len(chats.messages(ADA)) == 1


async def test_holdfast_may_be_away_while_an_answer_is_shown(
    bots: Bots, chats: TelegramStandIn, holdfast: HoldfastStandIn, ada: dict[str, Any]
) -> None:
    async with bots.running():
        await chats.writes(ada, "hello")
        turn = await holdfast.turn()
        await turn.says("Hel")
        await chats.says(ADA, "Hel")
        holdfast.down = True
        await turn.says("lo!", part="t2")
        await turn.ends()
        before = holdfast.turned_away
        await holdfast.until(lambda: holdfast.turned_away > before + 1)
        holdfast.down = False
        await chats.says(ADA, "lo!")


async def test_an_unlinked_chat_is_told_so(
    bots: Bots, chats: TelegramStandIn, holdfast: HoldfastStandIn, ada: dict[str, Any]
) -> None:
    async with bots.running():
        await chats.writes(ada, "hello")
        turn = await holdfast.turn()
        await turn.says("Hel")
        await chats.says(ADA, "Hel")
        del holdfast.turns[turn.id]
        await turn.says("lo!")
        await chats.says(ADA, "no longer linked")


async def test_a_group_that_gets_a_new_id_still_gets_its_answer(
    bots: Bots, chats: TelegramStandIn, holdfast: HoldfastStandIn
) -> None:
    old, ada = chats.group(-555), chats.person(ADA, "Ada")
    holdfast.link("server", -555)
    async with bots.running():
        await chats.writes(ada, "@stand_in_bot hello", old)
        turn = await holdfast.turn()
        chats.group(-100555)
        old["migrated_to"] = -100555
        await turn.says("Hello!")
        await turn.ends()
        await chats.says(-100555, "Hello!")


def test_the_file_holds_no_text_and_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "telegram.json"
    memory = Memory(path)
    shown = Shown("t1", Place("user", "1", "", ("1", "")), "5", ["6"], {"a": ["7"]}, "a")
    memory.accept("c1", shown)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = Memory(path)
    assert again.shown == {"t1": shown}
    assert again.knows("c1")
    for n in range(RECENT):
        again.accept(f"more{n}")
    assert not again.knows("c1")
    again.forget("t1")
    assert Memory(path).shown == {}


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"shown": [1], "recent": []}'], ids=["empty", "cut", "list", "odd"]
)
def test_a_damaged_file_does_not_keep_the_adapter_from_starting(tmp_path: Path, content: str) -> None:
    path = tmp_path / "telegram.json"
    path.write_text(content)
    assert Memory(path).shown == {}


def test_a_file_that_cannot_be_written_holds_nothing_up(tmp_path: Path) -> None:
    (tmp_path / "bots").write_text("no folder")
    memory = Memory(tmp_path / "bots" / "telegram.json")
    memory.accept("c1", Shown("t1", Place("user", "1")))
    assert memory.knows("c1")
    assert "t1" in memory.shown


async def test_what_was_done_is_not_done_again_when_it_comes_again(
    bots: Bots, chats: TelegramStandIn, holdfast: HoldfastStandIn, ada: dict[str, Any]
) -> None:
    async with bots.running():
        await chats.writes(ada, "paint it")
        turn = await holdfast.turn()
        await turn.asks("ask_user_question", question="Which colour?")
        await chats.says(ADA, "Which colour?")
        answer = await chats.writes(ada, "green")
        await chats.says(ADA, "green")
        stop = await chats.writes(ada, "/stop")
        await chats.says(ADA, "Stopping.")
        await chats.until("a confirmation", lambda: chats.unconfirmed == 0)
    async with bots.running():
        await chats.writes(ada, "again")
        later = await holdfast.turn(1)
        for message in (answer, stop):
            await chats.update(message=message)
        await chats.until("a confirmation", lambda: chats.unconfirmed == 0)
    assert [sent["text"] for sent in holdfast.sent] == ["paint it", "again"]
    assert later.status == "running"
    assert len(holdfast.decided) == 1
