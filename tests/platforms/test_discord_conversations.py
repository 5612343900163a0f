"""What people and the bot do to each other on Discord, over its gateway."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from linking.platforms import discord as adapter
from tests.platforms.discord_stand_in import GUILD, ME, OWN_ROLE, TOKEN, DiscordStandIn, Message
from tests.platforms.holdfast_stand_in import HoldfastStandIn
from tests.platforms.running import running

ADA, GRACE = "500000000000000001", "500000000000000002"


@pytest.fixture
async def discord() -> AsyncIterator[DiscordStandIn]:
    """Discord; whatever happens, the bot must not have done what no bot may."""
    async with DiscordStandIn() as stand_in:
        yield stand_in
    assert stand_in.violations == []


@pytest.fixture
def settings(discord: DiscordStandIn) -> dict[str, str]:
    """The adapter's settings."""
    return discord.settings()


@pytest.fixture
async def bot(
    discord: DiscordStandIn, settings: dict[str, str], holdfast: HoldfastStandIn, tmp_path: Path
) -> AsyncIterator[None]:
    """The adapter, running and connected."""
    async with running(adapter, settings, holdfast.url, tmp_path / "discord.json"):
        await discord.until(lambda: discord.sessions)
        yield


async def says(discord: DiscordStandIn, channel: str, words: str) -> Message:
    """Wait for a message of the bot that holds these words."""
    found: Message = await discord.until(
        lambda: next((each for each in discord.of_bot(channel) if words in each.content), None)
    )
    return found


async def test_it_tells_discord_its_commands(discord: DiscordStandIn, bot: None) -> None:
    assert [each["name"] for each in discord.commands] == ["ask", "stop", "link", "unlink", "help"]


async def test_a_stranger_gets_a_link_in_private_and_then_answers(
    discord: DiscordStandIn, bot: None, holdfast: HoldfastStandIn
) -> None:
    private = discord.private(ADA)
    await discord.say(private, ADA, "hello")
    invited = await says(discord, private, "https://holdfast.example/link/")
    [(token, asked)] = holdfast.tokens.items()
    assert token in invited.content
    assert "123456" in invited.content
    assert (asked["kind"], asked["platform_id"], asked["platform_user_id"]) == ("user", ADA, ADA)
    await holdfast.confirm(token)
    await says(discord, private, "Linked")
    await discord.say(private, ADA, "hello")
    turn = await holdfast.turn()
    await turn.says("Hello ", "Ada!")
    await turn.ends()
    await says(discord, private, "Hello Ada!")
    assert holdfast.sent[0]["author"] == "name01"


async def test_an_answer_grows_in_one_message(
    discord: DiscordStandIn, bot: None, holdfast: HoldfastStandIn
) -> None:
    holdfast.link("user", ADA)
    private = discord.private(ADA)
    asked = await discord.say(private, ADA, "count")
    turn = await holdfast.turn()
    await turn.emit({"type": "text-start", "id": "t"}, {"type": "text-delta", "id": "t", "delta": "one"})
    first = await says(discord, private, "one")
    await turn.emit({"type": "text-delta", "id": "t", "delta": " **two** three"}, {"type": "text-end", "id": "t"})
    await turn.ends()
    await says(discord, private, "one **two** three")
    assert discord.of_bot(private) == [first]
    assert (first.reply_to, len(first.texts)) == (asked, 2)
    assert private in discord.typing


async def test_a_long_answer_becomes_messages_that_are_each_whole(
    discord: DiscordStandIn, bot: None, holdfast: HoldfastStandIn
) -> None:
    holdfast.link("user", ADA)
    private = discord.private(ADA)
    await discord.say(private, ADA, "code please")
    turn = await holdfast.turn()
    lines = [f"print({n})  # 😀 of line {n}" for n in range(200)]
    await turn.says("```python\n", *(f"{line}\n" for line in lines), "```\nDone now.")
    await turn.ends()
    await says(discord, private, "Done now.")
    shown = discord.of_bot(private)
    assert len(shown) > 2
    assert all(each.content.startswith("```python\n") for each in shown[:-1])
    assert [line for each in shown for line in each.content.splitlines() if "print" in line] == lines


async def test_the_last_edit_has_the_whole_text_although_discord_slows_it_down(
    discord: DiscordStandIn, bot: None, holdfast: HoldfastStandIn
) -> None:
    discord.bucket, discord.window = 2, 0.5
    holdfast.link("user", ADA)
    private = discord.private(ADA)
    await discord.say(private, ADA, "count")
    turn = await holdfast.turn()
    for n in range(60):
        part = {"type": "text-delta", "id": "t", "delta": f"w{n} "}
        await turn.emit(*([{"type": "text-start", "id": "t"}] if n == 0 else []), part)
        if n % 10 == 0:
            await says(discord, private, "w0")
    await turn.ends()
    message = await says(discord, private, "w59")
    assert message.content.split() == [f"w{n}" for n in range(60)]
    assert discord.refusals == 0


async def test_a_refusal_for_haste_is_waited_for(
    discord: DiscordStandIn, bot: None, holdfast: HoldfastStandIn
) -> None:
    holdfast.link("user", ADA)
    private = discord.private(ADA)
    await discord.say(private, ADA, "count")
    turn = await holdfast.turn()
    await discord.until(lambda: discord.typing)
    everything = {"message": "slow down", "retry_after": 0.1, "global": True}
    discord.next_answers = [(429, everything, {}), (502, {}, {}), (429, {"retry_after": 0.05}, {})]
    await turn.says("here it is")
    await turn.ends()
    await says(discord, private, "here it is")
    assert len(discord.of_bot(private)) == 1


async def test_in_a_server_it_answers_who_means_it(
    discord: DiscordStandIn, bot: None, holdfast: HoldfastStandIn
) -> None:
    holdfast.link("server", GUILD, ADA)
    channel = discord.public()
    await discord.say(channel, GRACE, "nobody asked you")
    await discord.say(channel, GRACE, f"<@{ME}> not a person", author={"id": "1", "bot": True})
    await discord.say(channel, GRACE, f"<@{ME}> a hook", webhook_id="1")
    await discord.say(channel, GRACE, f"<@{ME}> somebody joined", type=7)
    await discord.say(channel, GRACE, f"<@{ME}> what is 2+2?")
    turn = await holdfast.turn()
    await turn.says("4")
    await turn.ends()
    answer = await says(discord, channel, "4")
    reply = {"id": answer.id, "author": {"id": ME}, "content": answer.content}
    await discord.say(channel, GRACE, "sure?", referenced_message=reply)
    await (await holdfast.turn(1)).ends()
    await discord.say(channel, GRACE, f"<@&{OWN_ROLE}> by role", mention_roles=[OWN_ROLE])
    await holdfast.turn(2)
    assert [each["text"] for each in holdfast.sent] == ["what is 2+2?", "sure?", "by role"]
    assert {each["thread_id"] for each in holdfast.sent} == {channel}
    assert {each["platform_user_id"] for each in holdfast.sent} == {GRACE}


async def test_what_somebody_else_said_is_quoted(
    discord: DiscordStandIn, bot: None, holdfast: HoldfastStandIn
) -> None:
    holdfast.link("server", GUILD, ADA)
    channel = discord.public()
    quoted = {"id": "1", "author": {"id": ADA}, "content": "the roof leaks"}
    await discord.say(channel, GRACE, f"<@{ME}> is that true?", referenced_message=quoted)
    await holdfast.turn()
    assert holdfast.sent[0]["text"] == "> the roof leaks\n\nis that true?"


async def test_a_message_that_comes_twice_is_one(
    discord: DiscordStandIn, bot: None, holdfast: HoldfastStandIn
) -> None:
    holdfast.link("user", ADA)
    private = discord.private(ADA)
    message = await discord.say(private, ADA, "once")
    await (await holdfast.turn()).ends()
    await discord.say(private, ADA, "once", id=message)
    await discord.say(private, ADA, "twice")
    await holdfast.turn(1)
    assert [each["text"] for each in holdfast.sent] == ["once", "twice"]


async def test_a_server_is_linked_by_a_command_whose_answer_only_one_person_sees(
    discord: DiscordStandIn, bot: None, holdfast: HoldfastStandIn
) -> None:
    channel = discord.public()
    discord.shy.add(ADA)
    await discord.say(channel, ADA, f"<@{ME}> hello")
    await says(discord, channel, "/link")
    assert holdfast.tokens == {}
    used = await discord.command(channel, ADA, "link")
    await discord.until(lambda: any("holdfast.example/link" in str(each.get("content")) for each in used.answers))
    [(token, asked)] = holdfast.tokens.items()
    assert (asked["kind"], asked["platform_id"], asked["platform_user_id"]) == ("server", GUILD, ADA)
    assert asked["platform_name"] == "The harbour"
    assert all(each["flags"] & 64 for each in used.answers)
    await holdfast.confirm(token)
    await says(discord, channel, "linked now")
    assert not [each for each in discord.messages.values() if token in each.content]


async def test_a_link_asked_for_in_a_message_comes_by_direct_message(
    discord: DiscordStandIn, bot: None, holdfast: HoldfastStandIn
) -> None:
    channel, private = discord.public(), discord.private(ADA)
    await discord.say(channel, ADA, f"<@{ME}> link")
    await says(discord, private, "holdfast.example/link")
    await says(discord, channel, "in private")
    discord.shy.add(GRACE)
    await discord.say(channel, GRACE, f"<@{ME}> /link")
    await says(discord, channel, "Use the command /link")
    assert not [each for each in discord.of_bot(channel) if "holdfast.example" in each.content]


async def test_ask_is_shown_to_all_and_answered(
    discord: DiscordStandIn, bot: None, holdfast: HoldfastStandIn
) -> None:
    holdfast.link("server", GUILD, ADA)
    channel = discord.public()
    used = await discord.command(channel, GRACE, "ask", text="what is\n2+2?")
    turn = await holdfast.turn()
    await turn.says("4")
    await turn.ends()
    await says(discord, channel, "4")
    assert used.answers == [
        {"type": 4, "content": "> what is\n> 2+2?", "allowed_mentions": {"parse": []}, "flags": 4}
    ]
    assert holdfast.sent[0]["text"] == "what is\n2+2?"


async def test_stop_stops_what_runs_in_the_channel(
    discord: DiscordStandIn, bot: None, holdfast: HoldfastStandIn
) -> None:
    holdfast.link("server", GUILD, ADA)
    here, there = discord.public(), discord.public()
    for channel in (here, there):
        await discord.say(channel, ADA, f"<@{ME}> work")
    first, second = await holdfast.turn(0), await holdfast.turn(1)
    await first.says("begun")
    await says(discord, here, "begun")
    used = await discord.command(here, ADA, "stop")
    await discord.until(lambda: used.words == "Stopping.")
    await says(discord, here, "Stopped")
    assert (first.status, second.status) == ("cancelled", "running")


REQUEST = {"name": "demo_note", "arguments": {"text": "hi"}, "allowed_decisions": ["approve", "reject"]}


async def test_the_owner_approves_with_a_button(
    discord: DiscordStandIn, bot: None, holdfast: HoldfastStandIn
) -> None:
    holdfast.link("server", GUILD, ADA)
    channel = discord.public()
    await discord.say(channel, GRACE, f"<@{ME}> note hi")
    turn = await holdfast.turn()
    await turn.asks(requests=[{"tool_call_id": "call_1", **REQUEST}])
    card = await says(discord, channel, "Approval needed")
    used = await discord.press(card, "✅ Approve", GRACE)
    await discord.until(lambda: "Only the person" in used.words)
    assert used.answers[-1]["flags"] & 64
    assert holdfast.decided == []
    used = await discord.press(card, "✅ Approve", ADA)
    await discord.until(lambda: used.words)
    assert holdfast.decided[0]["decisions"] == [{"tool_call_id": "call_1", "type": "approve"}]
    await discord.until(lambda: not card.buttons)
    assert "Decided" in card.content


async def test_a_large_batch_keeps_all_its_buttons(
    discord: DiscordStandIn, bot: None, holdfast: HoldfastStandIn
) -> None:
    holdfast.link("user", ADA)
    private = discord.private(ADA)
    await discord.say(private, ADA, "note them")
    turn = await holdfast.turn()
    await turn.asks(requests=[{"tool_call_id": f"call_{n}", **REQUEST} for n in range(8)])
    card = await says(discord, private, "Approval needed")
    assert len(card.buttons) == 18
    assert max(len(row["components"]) for row in card.components) <= 5


async def test_a_question_is_answered_by_a_button_or_a_reply(
    discord: DiscordStandIn, bot: None, holdfast: HoldfastStandIn
) -> None:
    holdfast.link("server", GUILD, ADA)
    channel = discord.public()
    await discord.say(channel, ADA, f"<@{ME}> ask me")
    turn = await holdfast.turn()
    await turn.asks("ask_user_question", question="Which?", options=["red", "blue"])
    card = await says(discord, channel, "Which?")
    await discord.press(card, "blue", ADA)
    await discord.until(lambda: holdfast.decided)
    await turn.asks("ask_user_question", question="Why?")
    card = await says(discord, channel, "Why?")
    await discord.say(channel, ADA, "because", referenced_message={"id": card.id, "author": {"id": ME}})
    await discord.until(lambda: len(holdfast.decided) == 2)
    assert [each["answer"] for each in holdfast.decided] == ["blue", "because"]


async def test_an_answer_goes_on_after_a_restart(
    discord: DiscordStandIn, settings: dict[str, str], holdfast: HoldfastStandIn, tmp_path: Path
) -> None:
    holdfast.link("user", ADA)
    private, path = discord.private(ADA), tmp_path / "discord.json"
    async with running(adapter, settings, holdfast.url, path):
        await discord.until(lambda: discord.sessions)
        await discord.say(private, ADA, "count")
        turn = await holdfast.turn()
        await turn.emit({"type": "text-start", "id": "t"}, {"type": "text-delta", "id": "t", "delta": "one"})
        await says(discord, private, "one")
    await turn.emit({"type": "text-delta", "id": "t", "delta": " two"}, {"type": "text-end", "id": "t"})
    await turn.ends()
    async with running(adapter, settings, holdfast.url, path):
        await says(discord, private, "one two")
    assert len(discord.of_bot(private)) == 1


async def test_what_is_said_between_two_runs_is_answered_by_the_second(
    discord: DiscordStandIn, settings: dict[str, str], holdfast: HoldfastStandIn, tmp_path: Path
) -> None:
    holdfast.link("server", GUILD, ADA)
    channel, path = discord.public(), tmp_path / "discord.json"
    async with running(adapter, settings, holdfast.url, path):
        await discord.until(lambda: discord.sessions)
        await discord.say(channel, ADA, f"<@{ME}> before")
        first = await holdfast.turn()
        await first.says("yes")
        await first.ends()
        await says(discord, channel, "yes")
    await discord.until(lambda: all(each.socket is None for each in discord.sessions.values()))
    await discord.say(channel, ADA, f"<@&{OWN_ROLE}> meanwhile", mention_roles=[OWN_ROLE])
    await discord.event("INTERACTION_CREATE", discord.interaction(2, channel, ADA, {"name": "stop"}))
    [stopped] = discord.interactions.values()
    stopped.at -= 4
    async with running(adapter, settings, holdfast.url, path):
        await holdfast.turn(1)
        await discord.say(channel, ADA, f"<@{ME}> after")
        await holdfast.until(lambda: len(holdfast.sent) == 3)
    assert [each["text"] for each in holdfast.sent] == ["before", "meanwhile", "after"]
    assert stopped.answers == []
    assert [turn.status for turn in holdfast.turns.values()] == ["completed", "running"]
    assert len(discord.identifies) == 1


async def test_a_press_counts_although_discord_did_not_hear_the_answer(
    discord: DiscordStandIn, bot: None, holdfast: HoldfastStandIn
) -> None:
    holdfast.link("user", ADA)
    private = discord.private(ADA)
    await discord.say(private, ADA, "note hi")
    turn = await holdfast.turn()
    await turn.asks(requests=[{"tool_call_id": "call_1", **REQUEST}])
    card = await says(discord, private, "Approval needed")
    await discord.until(lambda: discord.typing)
    discord.next_answers = [(502, {}, {})]
    await discord.press(card, "✅ Approve", ADA)
    await holdfast.until(lambda: holdfast.decided)


async def test_a_lost_answer_of_discord_makes_no_second_message(
    discord: DiscordStandIn, bot: None, holdfast: HoldfastStandIn
) -> None:
    holdfast.link("user", ADA)
    private = discord.private(ADA)
    discord.lose_next_answer = True
    await discord.say(private, ADA, "hello")
    turn = await holdfast.turn()
    await turn.says("here")
    await turn.ends()
    await discord.until(lambda: not discord.lose_next_answer and discord.repeated)
    assert [each.content for each in discord.of_bot(private)] == ["here"]


async def test_no_log_line_names_anybody_or_tells_a_secret(
    discord: DiscordStandIn, bot: None, holdfast: HoldfastStandIn, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        private, channel = discord.private(ADA), discord.public()
        discord.shy.add(GRACE)
        await discord.say(private, ADA, "hello")
        await says(discord, private, "/link/")
        await discord.say(channel, GRACE, f"<@{ME}> link")
        await says(discord, channel, "Use the command")
        await discord.drop(4000)
        await discord.until(lambda: discord.resumes)
        await discord.event("MESSAGE_CREATE", {"id": ADA, "channel_id": channel})
        await discord.event("MESSAGE_CREATE", {"author": {"id": ADA}})
        used = await discord.command(channel, ADA, "stop")
        await discord.until(lambda: used.words)
    assert caplog.text.count("could not be read") == 2
    secrets = [ADA, GRACE, GUILD, private, channel, TOKEN, used.data["token"], *holdfast.tokens, "hello"]
    assert [each for each in secrets if each in caplog.text] == []


async def test_what_a_command_answers_takes_the_place_of_the_waiting_sign(
    discord: DiscordStandIn, bot: None, holdfast: HoldfastStandIn
) -> None:
    used = await discord.command(discord.public(), ADA, "help")
    await discord.until(lambda: any("/stop" in each.get("content", "") for each in used.answers))
    assert [sorted(each.keys() & {"type", "content"}) for each in used.answers] == [["type"], ["content"]]
