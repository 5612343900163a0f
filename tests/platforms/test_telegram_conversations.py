"""What people and the bot do to each other on Telegram."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest

from linking.platforms.base import Place
from linking.platforms.client import Unreachable
from linking.platforms.following import Following
from linking.platforms.memory import Memory, Shown
from linking.platforms.pacing import Pace
from tests.platforms.conftest import ADA, Bots
from tests.platforms.holdfast_stand_in import HoldfastStandIn
from tests.platforms.recorder import Recorder
from tests.platforms.telegram_stand_in import TelegramStandIn

GRACE = 1002
GROUP = -100200


async def test_a_stranger_gets_a_link_in_private_and_then_answers(
    bot: Bots, chats: TelegramStandIn, holdfast: HoldfastStandIn
) -> None:
    ada = chats.person(ADA, "Ada")
    await chats.writes(ada, "/start")
    invited = await chats.says(ADA, "https://holdfast.example/link/")
    [(token, asked)] = holdfast.tokens.items()
    assert token in invited.text
    assert "123456" in invited.text
    assert asked["kind"] == "user"
    assert asked["platform_user_id"] == str(ADA)
    await holdfast.confirm(token)
    await chats.says(ADA, "Linked")
    await chats.writes(ada, "hello")
    turn = await holdfast.turn()
    await turn.says("Hello ", "Ada!")
    await turn.ends()
    assert (await chats.says(ADA, "Hello Ada!")).html == "Hello Ada!"
    assert holdfast.sent[0]["author"] == "Ada"


async def test_an_answer_grows_in_one_message(
    bot: Bots, chats: TelegramStandIn, holdfast: HoldfastStandIn, ada: dict[str, Any]
) -> None:
    await chats.writes(ada, "count")
    turn = await holdfast.turn()
    await turn.emit({"type": "text-start", "id": "t"}, {"type": "text-delta", "id": "t", "delta": "one"})
    first = await chats.says(ADA, "one")
    await turn.emit({"type": "text-delta", "id": "t", "delta": " **two** three"}, {"type": "text-end", "id": "t"})
    await turn.ends()
    await chats.says(ADA, "one two three")
    assert chats.messages(ADA) == [first]
    assert first.html == "one <b>two</b> three"
    assert first.edits >= 1
    assert ADA in chats.typing


async def test_a_long_answer_becomes_messages_that_are_each_whole(
    bot: Bots, chats: TelegramStandIn, holdfast: HoldfastStandIn, ada: dict[str, Any]
) -> None:
    await chats.writes(ada, "code please")
    turn = await holdfast.turn()
    lines = [f"print({n})  # 😀 & <tags> of line {n}" for n in range(500)]
    await turn.says("```python\n", *(f"{line}\n" for line in lines), "```\nDone **now**.")
    await turn.ends()
    await chats.says(ADA, "Done now.")
    shown = chats.messages(ADA)
    assert len(shown) > 4
    assert all(each.html.startswith('<pre><code class="language-python">') for each in shown[:-1])
    assert [line for each in shown for line in each.text.splitlines() if "print" in line] == lines


async def test_the_last_edit_has_the_whole_text_although_telegram_slows_it_down(
    bot: Bots, chats: TelegramStandIn, holdfast: HoldfastStandIn, ada: dict[str, Any]
) -> None:
    chats.limits["private"] = (3, 0.4)
    await chats.writes(ada, "/ask count")
    turn = await holdfast.turn()
    for n in range(60):
        await turn.emit(
            {"type": "text-start", "id": str(n)}, {"type": "text-delta", "id": str(n), "delta": f"w{n}"}
        )
        if n % 10 == 0:
            await chats.says(ADA, "w0")
    await turn.ends()
    await chats.says(ADA, "w59")
    assert chats.messages(ADA)[0].text.split() == [f"w{n}" for n in range(60)]


async def test_markup_that_telegram_refuses_is_shown_as_plain_text(
    bot: Bots, chats: TelegramStandIn, holdfast: HoldfastStandIn, ada: dict[str, Any]
) -> None:
    chats.refuses_markup = True
    await chats.writes(ada, "hello")
    turn = await holdfast.turn()
    await turn.says("**Hello** <you> & all")
    await turn.ends()
    assert (await chats.says(ADA, "Hello")).text == "**Hello** <you> & all"


async def test_a_group_is_linked_in_private_and_its_link_never_shown_there(
    bot: Bots, chats: TelegramStandIn, holdfast: HoldfastStandIn
) -> None:
    group, ada = chats.group(), chats.person(ADA, "Ada", started=False)
    await chats.writes(ada, "@stand_in_bot hello", group)
    await chats.says(GROUP, "not linked")
    assert holdfast.tokens == {}
    await chats.writes(ada, "/link@stand_in_bot", group)
    await chats.says(GROUP, "https://t.me/stand_in_bot?start=link")
    await chats.writes(ada, "/start link")
    invited = await chats.says(ADA, "“Ops”")
    asked = list(holdfast.tokens.values())[-1]
    assert (asked["kind"], asked["platform_id"], asked["platform_user_id"]) == ("server", str(GROUP), str(ADA))
    token = list(holdfast.tokens)[-1]
    assert token in invited.text
    await holdfast.confirm(token)
    await chats.says(GROUP, "linked now")
    assert not [each for each in chats.messages(GROUP) for secret in holdfast.tokens if secret in each.text]


async def test_only_who_asked_for_a_groups_link_gets_it(
    bot: Bots, chats: TelegramStandIn, holdfast: HoldfastStandIn
) -> None:
    group, ada = chats.group(), chats.person(ADA, "Ada", started=False)
    await chats.writes(ada, "/link", group)
    await chats.says(GROUP, "t.me/")
    mallory = chats.person(666, "Mallory")
    await chats.writes(mallory, "/start link")
    await chats.says(666, "link this chat")
    assert list(holdfast.tokens.values())[-1]["kind"] == "user"


async def test_in_a_group_it_answers_when_it_is_meant_and_topics_are_threads(
    bot: Bots, chats: TelegramStandIn, holdfast: HoldfastStandIn
) -> None:
    group, ada = chats.group(is_forum=True), chats.person(ADA, "Ada")
    holdfast.link("server", GROUP, ADA)
    await chats.writes(ada, "nobody asked you", group)
    await chats.writes(ada, "/ask@another_bot hi", group)
    await chats.writes(ada, "and @stand_in_bot what is 2+2?", group, message_thread_id=77)
    turn = await holdfast.turn()
    await turn.says("4")
    await turn.ends()
    answer = await chats.says(GROUP, "4")
    assert answer.topic == 77
    assert answer.reply_to
    [sent] = holdfast.sent
    assert (sent["text"], sent["thread_id"], sent["platform_user_id"]) == ("and what is 2+2?", "77", str(ADA))
    replied = {
        "message_id": answer.id,
        "from": {"id": 1234567, "is_bot": True, "first_name": "Agent"},
        "text": "4",
    }
    await chats.writes(ada, "sure?", group, message_thread_id=77, reply_to_message=replied)
    await holdfast.turn(1)
    assert holdfast.sent[1]["text"] == "sure?"


async def test_replies_outside_forums_are_one_thread(
    bot: Bots, chats: TelegramStandIn, holdfast: HoldfastStandIn
) -> None:
    group, ada = chats.group(), chats.person(ADA, "Ada")
    holdfast.link("server", GROUP)
    await chats.writes(ada, "@stand_in_bot hi", group, message_thread_id=5, is_topic_message=None)
    turn = await holdfast.turn()
    await turn.says("Hi.")
    await turn.ends()
    await chats.says(GROUP, "Hi.")
    assert "thread_id" not in holdfast.sent[0]


async def test_what_somebody_else_said_goes_along_when_it_is_answered(
    bot: Bots, chats: TelegramStandIn, holdfast: HoldfastStandIn
) -> None:
    group, ada = chats.group(), chats.person(ADA, "Ada")
    holdfast.link("server", GROUP)
    said = {"message_id": 5, "from": {"id": 9, "first_name": "Grace"}, "text": "It is\nraining."}
    await chats.writes(ada, "@stand_in_bot is that so?", group, reply_to_message=said)
    await holdfast.turn()
    assert holdfast.sent[0]["text"] == "> Grace: It is\n> raining.\n\nis that so?"


def _request(call: str, name: str, **arguments: object) -> dict[str, object]:
    return {
        "tool_call_id": call,
        "name": name,
        "arguments": arguments,
        "schema": {},
        "allowed_decisions": ["approve", "edit", "reject", "respond"],
    }


async def test_an_approval_is_decided_by_a_button(
    bot: Bots, chats: TelegramStandIn, holdfast: HoldfastStandIn, ada: dict[str, Any]
) -> None:
    await chats.writes(ada, "note it")
    turn = await holdfast.turn()
    await turn.says("I will.")
    await turn.asks(requests=[_request("c1", "demo_note", text="```\u202ehidden")])
    card = await chats.says(ADA, "Approval needed")
    # What could end the code block or turn the text around is seen for what it is.
    assert r"\u0060\u0060\u0060\u202ehidden" in card.text
    press = await chats.presses(ada, card, "✅ Approve")
    await holdfast.until(lambda: holdfast.decided)
    await turn.says("Noted.", part="t2")
    await turn.ends()
    await chats.says(ADA, "Noted.")
    assert holdfast.decided[0]["decisions"] == [{"tool_call_id": "c1", "type": "approve"}]
    assert await chats.says(ADA, "Decided by ada") is card
    assert card.buttons == []
    await chats.until("an answer", lambda: chats.answered.get(press) == "👍")
    texts = [message.text for message in chats.messages(ADA)]
    assert [text.split("\n")[0] for text in texts] == ["I will.", "Decided by ada.", "Noted."]


async def test_a_batch_is_decided_call_by_call_and_only_by_its_owner(
    bot: Bots, chats: TelegramStandIn, holdfast: HoldfastStandIn
) -> None:
    group, ada, grace = chats.group(), chats.person(ADA, "Ada"), chats.person(GRACE, "Grace")
    holdfast.link("server", GROUP, ADA)
    await chats.writes(grace, "/ask do both", group)
    turn = await holdfast.turn()
    await turn.asks(requests=[_request("c1", "demo_note", text="a"), _request("c2", "shell", command="ls")])
    card = await chats.says(GROUP, "2 tools")
    # A stranger's half of a choice must not become the owner's.
    await chats.presses(grace, card, "✅ 1")
    press = await chats.presses(ada, card, "❌ 2")
    await chats.until("an answer", lambda: press in chats.answered)
    assert chats.answered[press] == "❔ 1  ❌ 2"
    assert holdfast.decided == []
    press = await chats.presses(grace, card, "✅ 2")
    await chats.until("an answer", lambda: press in chats.answered)
    assert "Only the person" in chats.answered[press]
    await chats.presses(ada, card, "✅ 1")
    await chats.says(GROUP, "Decided")
    assert holdfast.decided[0]["decisions"] == [
        {"tool_call_id": "c1", "type": "approve"},
        {"tool_call_id": "c2", "type": "reject"},
    ]
    assert holdfast.decided[0]["platform_user_id"] == str(ADA)


async def test_buttons_that_are_over_or_made_up_are_answered_too(
    bot: Bots, chats: TelegramStandIn, holdfast: HoldfastStandIn
) -> None:
    ada = chats.person(ADA, "Ada")
    for n, data in enumerate(["a:zz", f"a:{uuid.uuid4().hex}", "", "x" * 64, f"o:{uuid.uuid4().hex}:99999"]):
        query = {"id": f"q{n}", "from": ada, "data": data}
        await chats.update(callback_query=query)
    await chats.until("answers", lambda: len(chats.answered) == 5)
    assert set(chats.answered.values()) == {"This is over: it was decided, or its time ran out."}


async def test_a_question_takes_a_button(
    bot: Bots, chats: TelegramStandIn, holdfast: HoldfastStandIn, ada: dict[str, Any]
) -> None:
    await chats.writes(ada, "paint it")
    turn = await holdfast.turn()
    await turn.asks("ask_user_question", question="Which colour?", options=["red", "blue " * 20])
    card = await chats.says(ADA, "Which colour?")
    await chats.presses(ada, card, "red")
    await chats.says(ADA, "red")
    await holdfast.until(lambda: holdfast.decided)
    assert holdfast.decided[0]["answer"] == "red"


async def test_a_question_takes_a_reply_and_in_a_group_nothing_but_a_reply(
    bot: Bots, chats: TelegramStandIn, holdfast: HoldfastStandIn
) -> None:
    group, ada, grace = chats.group(), chats.person(ADA, "Ada"), chats.person(GRACE, "Grace")
    holdfast.link("server", GROUP, ADA)
    await chats.writes(ada, "/ask paint it", group)
    turn = await holdfast.turn()
    await turn.asks("ask_user_question", question="Which colour?")
    card = await chats.says(GROUP, "Which colour?")
    replied = {"message_id": card.id, "from": {"id": 1234567, "is_bot": True}, "text": card.text}
    await chats.writes(grace, "pink!", group, reply_to_message=replied)
    await chats.says(GROUP, "Only the person")
    await chats.writes(ada, "/ask and hurry", group)
    await chats.says(GROUP, "decided")
    assert holdfast.decided == []
    await chats.writes(ada, "green", group, reply_to_message=replied)
    await holdfast.until(lambda: holdfast.decided)
    assert holdfast.decided[0]["answer"] == "green"
    assert [sent["text"] for sent in holdfast.sent] == ["paint it", "and hurry"]


async def test_in_private_any_message_answers_a_question(
    bot: Bots, chats: TelegramStandIn, holdfast: HoldfastStandIn, ada: dict[str, Any]
) -> None:
    await chats.writes(ada, "paint it")
    turn = await holdfast.turn()
    await turn.asks("ask_user_question", question="Which colour?")
    await chats.says(ADA, "Which colour?")
    await chats.writes(ada, "green")
    await holdfast.until(lambda: holdfast.decided)
    assert holdfast.decided[0]["answer"] == "green"


async def test_a_bot_without_the_right_to_decide_says_so(
    bot: Bots, chats: TelegramStandIn, holdfast: HoldfastStandIn, ada: dict[str, Any]
) -> None:
    holdfast.may_approve = False
    await chats.writes(ada, "note it")
    turn = await holdfast.turn()
    await turn.asks(requests=[_request("c1", "demo_note", text="a")])
    press = await chats.presses(ada, await chats.says(ADA, "Approval needed"), "❌ Reject")
    await chats.until("an answer", lambda: press in chats.answered)
    assert "Decide in Holdfast" in chats.answered[press]


async def test_stop_ends_what_runs(
    bot: Bots, chats: TelegramStandIn, holdfast: HoldfastStandIn, ada: dict[str, Any]
) -> None:
    await chats.writes(ada, "/stop")
    await chats.says(ADA, "Nothing runs here")
    await chats.writes(ada, "go on for ever")
    turn = await holdfast.turn()
    await turn.says("Once upon")
    await chats.says(ADA, "Once upon")
    await chats.writes(ada, "/stop")
    await chats.says(ADA, "Once upon\n\nStopped.")
    assert turn.status == "cancelled"


async def test_a_message_to_a_busy_chat_is_answered_below_itself(
    bot: Bots, chats: TelegramStandIn, holdfast: HoldfastStandIn, ada: dict[str, Any]
) -> None:
    await chats.writes(ada, "first")
    turn = await holdfast.turn()
    await turn.says("An answer.")
    await chats.says(ADA, "An answer.")
    await chats.writes(ada, "second")
    await chats.says(ADA, "Noted")
    waiting = holdfast.waiting[turn.thread].pop()
    await turn.emit({"type": "data-pending", "data": {"message": {"id": waiting["id"]}, "next_message_id": "m2"}})
    await turn.says("Another one.", part="t2")
    await turn.ends()
    await chats.says(ADA, "Another one.")
    assert [message.text.split(".")[0] for message in chats.messages(ADA)] == ["An answer", "Noted", "Another one"]


async def test_what_came_meanwhile_becomes_the_next_turn(
    bot: Bots, chats: TelegramStandIn, holdfast: HoldfastStandIn, ada: dict[str, Any]
) -> None:
    await chats.writes(ada, "first")
    turn = await holdfast.turn()
    await chats.writes(ada, "second")
    await chats.says(ADA, "Noted")
    await turn.says("One.")
    await turn.ends()
    following = await holdfast.turn(1)
    await following.says("Two.")
    await following.ends()
    await chats.says(ADA, "Two.")


async def test_what_is_held_back_after_a_stop_is_said(
    bot: Bots, chats: TelegramStandIn, holdfast: HoldfastStandIn, ada: dict[str, Any]
) -> None:
    await chats.writes(ada, "first")
    turn = await holdfast.turn()
    await chats.writes(ada, "second")
    await chats.says(ADA, "Noted")
    await turn.ends("cancelled", code="stopped", detail="Stopped.")
    await chats.says(ADA, "waits: it goes along with your next message")


async def test_a_turn_that_began_elsewhere_does_not_keep_an_answer_from_being_shown(
    bot: Bots, chats: TelegramStandIn, holdfast: HoldfastStandIn, ada: dict[str, Any]
) -> None:
    elsewhere = holdfast.begin(("user", str(ADA), ""))
    await chats.writes(ada, "hello")
    await chats.says(ADA, "Noted")
    await elsewhere.ends()
    turn = await holdfast.turn(1)
    await turn.says("Hello!")
    await turn.ends()
    await chats.says(ADA, "Hello!")


async def test_files_are_declined_and_captions_taken(
    bot: Bots, chats: TelegramStandIn, holdfast: HoldfastStandIn, ada: dict[str, Any]
) -> None:
    await chats.writes(ada, "", voice={"file_id": "v"})
    await chats.says(ADA, "I cannot read files here")
    assert holdfast.sent == []
    await chats.writes(ada, "", photo=[{"file_id": "p"}], caption="what is this?")
    await chats.says(ADA, "I passed on your text")
    assert holdfast.sent[0]["text"] == "what is this?"


async def test_failures_are_told_in_words(
    bot: Bots, chats: TelegramStandIn, holdfast: HoldfastStandIn, ada: dict[str, Any]
) -> None:
    await chats.writes(ada, "x" * 65_000)
    await chats.says(ADA, "At most 64,000 characters.")
    await chats.writes(ada, "hello")
    turn = await holdfast.turn()
    await turn.says("Half an")
    await turn.ends("failed", code="overloaded", detail="The model is overloaded. Try again.")
    message = await chats.says(ADA, "overloaded")
    assert message.text == "Half an\n\n⚠️ The model is overloaded. Try again."


async def test_what_a_rollback_took_back_is_gone(
    bot: Bots, chats: TelegramStandIn, holdfast: HoldfastStandIn, ada: dict[str, Any]
) -> None:
    await chats.writes(ada, "hello")
    turn = await holdfast.turn()
    kept = await turn.emit({"type": "start", "messageId": "m"})
    await turn.says("wrong " * 2000)
    await chats.until("two messages", lambda: len(chats.messages(ADA)) > 1)
    await turn.emit({"type": "data-rollback", "data": {"to_seq": kept}})
    await turn.says("right", part="t2")
    await turn.ends()
    await chats.until("the right answer", lambda: [each.text for each in chats.messages(ADA)] == ["right"])


async def test_an_anonymous_administrator_may_ask_but_not_link(
    bot: Bots, chats: TelegramStandIn, holdfast: HoldfastStandIn
) -> None:
    group = chats.group()
    anonymous = {"id": 1087968824, "is_bot": True, "first_name": "Group", "username": "GroupAnonymousBot"}
    await chats.writes(anonymous, "/link", group, sender_chat=group)
    await chats.says(GROUP, "cannot see who you are")
    assert holdfast.tokens == {}
    holdfast.link("server", GROUP, ADA)
    await chats.writes(anonymous, "/ask hi", group, sender_chat=group)
    await holdfast.turn()
    assert "platform_user_id" not in holdfast.sent[0]
    assert holdfast.sent[0]["author"] == "Ops"


async def test_what_a_group_is_called_does_nothing_in_its_invitation(
    bot: Bots, chats: TelegramStandIn, holdfast: HoldfastStandIn
) -> None:
    group, ada = chats.group(title="[Your bank](https://evil.example) **now**"), chats.person(ADA, "Ada")
    await chats.writes(ada, "/link", group)
    invited = await chats.says(ADA, "“[Your bank](https://evil.example) **now**”")
    assert "evil.example" not in "".join(part.split(">")[0] for part in invited.html.split("<a ")[1:])


async def test_a_group_that_may_not_be_written_to_holds_up_nobody_else(
    bot: Bots, chats: TelegramStandIn, holdfast: HoldfastStandIn, ada: dict[str, Any]
) -> None:
    chats.limits["group"] = (1, 600.0)
    group = chats.group()
    for _ in range(3):
        await chats.writes(ada, "@stand_in_bot hello", group)
    await chats.until("a refusal", lambda: chats.too_fast)
    await chats.writes(ada, "hello")
    turn = await holdfast.turn()
    await turn.says("Hello!")
    await turn.ends()
    await chats.says(ADA, "Hello!")


async def test_an_invitation_that_has_to_wait_holds_up_no_other_chat(
    bot: Bots,
    chats: TelegramStandIn,
    holdfast: HoldfastStandIn,
    ada: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("linking.platforms.inviting.AGAIN_SECONDS", 600.0)
    chats.fails["sendMessage"] = [502]
    await chats.writes(chats.person(GRACE, "Grace"), "/start")
    await holdfast.until(lambda: holdfast.tokens)
    await chats.writes(ada, "hello")
    turn = await holdfast.turn()
    await turn.says("Hello!")
    await turn.ends()
    await chats.says(ADA, "Hello!")


async def test_a_press_on_what_cannot_be_read_is_answered_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linking.platforms.following.CAUGHT_UP_SECONDS", 0.01)
    approval = str(uuid.uuid4())
    shown = Shown("turn", Place("user", str(ADA)), asked={approval: ["m1"]})
    following = Following(Recorder(), None, Memory(), Pace(), shown)  # type: ignore[arg-type]
    async with asyncio.timeout(5):
        with pytest.raises(Unreachable):
            await following.open_approval(approval)
