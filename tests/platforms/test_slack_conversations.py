"""What people and the bot do to each other on Slack, over its socket."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from linking.platforms import slack as adapter
from tests.platforms.holdfast_stand_in import HoldfastStandIn
from tests.platforms.running import running
from tests.platforms.slack_stand_in import APP_TOKEN, BOT_TOKEN, ME, TEAM, Message, SlackStandIn

ADA, GRACE = "U0ADA", "U0GRACE"
PRIVATE, CHANNEL = f"D{ADA}", "C0GENERAL"
REQUEST = {"name": "demo_note", "arguments": {"text": "<hi> & more"}, "allowed_decisions": ["approve", "reject"]}


@pytest.fixture
async def slack() -> AsyncIterator[SlackStandIn]:
    """Slack; whatever happens, the bot must not have done what no bot may."""
    async with SlackStandIn() as stand_in:
        yield stand_in
    assert stand_in.violations == []


@pytest.fixture
def settings(slack: SlackStandIn) -> dict[str, str]:
    """The adapter's settings."""
    return slack.settings()


@pytest.fixture
async def bot(
    slack: SlackStandIn, settings: dict[str, str], holdfast: HoldfastStandIn, tmp_path: Path
) -> AsyncIterator[None]:
    """The adapter, running and connected."""
    async with running(adapter, settings, holdfast.url, tmp_path / "slack.json"):
        await slack.until(lambda: slack.sockets)
        yield


async def says(slack: SlackStandIn, channel: str, words: str) -> Message:
    """Wait for a message of the bot that holds these words."""
    found: Message = await slack.until(
        lambda: next((each for each in slack.of_bot(channel) if words in each.text), None)
    )
    return found


async def whispered(slack: SlackStandIn, words: str) -> dict[str, Any]:
    """Wait for words that one person sees."""
    found: dict[str, Any] = await slack.until(
        lambda: next((each for each in [*slack.whispers, *slack.answers] if words in each["text"]), None)
    )
    return found


async def writes(slack: SlackStandIn, channel: str, person: str, text: str, **more: Any) -> str:
    """Have a person write a message; return its time stamp."""
    payload = slack.message(channel, person, text, **more)
    await slack.send("events_api", payload)
    return str(payload["event"]["ts"])


async def test_a_stranger_gets_a_link_in_private_and_then_answers(
    slack: SlackStandIn, bot: None, holdfast: HoldfastStandIn
) -> None:
    await writes(slack, PRIVATE, ADA, "hello")
    invited = await says(slack, PRIVATE, "https://holdfast.example/link/")
    [(token, asked)] = holdfast.tokens.items()
    assert token in invited.text
    assert "*123456*" in invited.text
    assert (asked["kind"], asked["platform_id"], asked["platform_user_id"]) == ("user", ADA, ADA)
    await holdfast.confirm(token)
    await says(slack, PRIVATE, "Linked")
    await writes(slack, PRIVATE, ADA, "tell me of R&amp;D &lt;now&gt;")
    turn = await holdfast.turn()
    await turn.says("R&D is **fun** <really>")
    await turn.ends()
    await says(slack, PRIVATE, "R&amp;D is *fun* &lt;really&gt;")
    assert holdfast.sent[0]["text"] == "tell me of R&D <now>"
    assert holdfast.sent[0]["author"] == "Ada Lovelace"


async def test_an_answer_grows_in_one_message_and_the_sign_that_it_was_read_goes(
    slack: SlackStandIn, bot: None, holdfast: HoldfastStandIn
) -> None:
    holdfast.link("user", ADA)
    asked = await writes(slack, PRIVATE, ADA, "count")
    turn = await holdfast.turn()
    await slack.until(lambda: slack.reactions == {(PRIVATE, asked)})
    await turn.emit({"type": "text-start", "id": "t"}, {"type": "text-delta", "id": "t", "delta": "one"})
    first = await says(slack, PRIVATE, "one")
    await slack.until(lambda: not slack.reactions)
    await turn.emit({"type": "text-delta", "id": "t", "delta": " two"}, {"type": "text-end", "id": "t"})
    await turn.ends()
    await says(slack, PRIVATE, "one two")
    assert slack.of_bot(PRIVATE) == [first]
    assert first.texts == ["one", "one two"]


async def test_without_the_permission_to_react_everything_else_works(
    slack: SlackStandIn, bot: None, holdfast: HoldfastStandIn
) -> None:
    slack.next_errors["reactions.add"] = ["missing_scope"]
    holdfast.link("user", ADA)
    for number in (0, 1):
        await writes(slack, PRIVATE, ADA, "count")
        turn = await holdfast.turn(number)
        await turn.says(f"answer {number}")
        await turn.ends()
        await says(slack, PRIVATE, f"answer {number}")
    assert slack.reactions == set()


async def test_a_mention_in_a_channel_begins_a_thread(
    slack: SlackStandIn, bot: None, holdfast: HoldfastStandIn
) -> None:
    holdfast.link("server", TEAM, ADA)
    begun = await writes(slack, CHANNEL, GRACE, f"<@{ME}> what is 2+2?")
    turn = await holdfast.turn()
    await turn.says("4")
    await turn.ends()
    answer = await says(slack, CHANNEL, "4")
    assert answer.thread == begun
    await writes(slack, CHANNEL, ADA, f"sure, <@{ME}>?", thread_ts=begun)
    await (await holdfast.turn(1)).ends()
    await writes(slack, CHANNEL, ADA, f"<@{ME}> something else")
    await holdfast.turn(2)
    threads = [each["thread_id"] for each in holdfast.sent]
    assert [each["text"] for each in holdfast.sent] == ["what is 2+2?", "sure, ?", "something else"]
    assert threads[0] == threads[1] == f"{CHANNEL}-{begun}"
    assert threads[2] != threads[0]
    assert {each["platform_id"] for each in holdfast.sent} == {TEAM}


async def test_what_is_not_meant_or_written_by_a_person_is_left_alone(
    slack: SlackStandIn, bot: None, holdfast: HoldfastStandIn
) -> None:
    holdfast.link("server", TEAM, ADA)
    holdfast.link("user", ADA)
    await writes(slack, CHANNEL, GRACE, "aloud", type="message", channel_type="channel")
    await writes(slack, CHANNEL, GRACE, f"<@{ME}> a bot", bot_id="B1")
    await writes(slack, CHANNEL, GRACE, f"<@{ME}> changed", edited={"user": GRACE, "ts": "1.2"})
    await writes(slack, PRIVATE, ADA, "taken away", subtype="message_deleted")
    await writes(slack, PRIVATE, ME, "its own words")
    last = await slack.send("events_api", slack.message(PRIVATE, ADA, "hello"))
    await slack.until(lambda: last in slack.acks)
    assert [each["text"] for each in holdfast.sent] == ["hello"]


async def test_a_long_answer_becomes_messages_that_are_each_whole(
    slack: SlackStandIn, bot: None, holdfast: HoldfastStandIn
) -> None:
    holdfast.link("user", ADA)
    await writes(slack, PRIVATE, ADA, "code please")
    turn = await holdfast.turn()
    lines = [f"if {n} < {n + 1} & True: print('😀 & more')" for n in range(200)]
    await turn.says("```python\n", *(f"{line}\n" for line in lines), "```\nDone now.")
    await turn.ends()
    await says(slack, PRIVATE, "Done now.")
    shown = slack.of_bot(PRIVATE)
    assert len(shown) > 2
    assert all(each.text.startswith("```\n") and each.text.count("```") == 2 for each in shown[:-1])
    code = [line for each in shown for line in each.text.splitlines() if "print" in line]
    assert [line.replace("&lt;", "<").replace("&amp;", "&") for line in code] == lines


async def test_the_last_edit_has_the_whole_text_although_slack_slows_it_down(
    slack: SlackStandIn, bot: None, holdfast: HoldfastStandIn
) -> None:
    slack.per_channel, slack.window = 1, 0.2
    holdfast.link("user", ADA)
    await writes(slack, PRIVATE, ADA, "count")
    turn = await holdfast.turn()
    for n in range(60):
        part = {"type": "text-delta", "id": "t", "delta": f"w{n} "}
        await turn.emit(*([{"type": "text-start", "id": "t"}] if n == 0 else []), part)
        if n % 10 == 0:
            await says(slack, PRIVATE, "w0")
    await turn.ends()
    message = await says(slack, PRIVATE, "w59")
    assert message.text.split() == [f"w{n}" for n in range(60)]


async def test_a_workspace_is_linked_in_private(slack: SlackStandIn, bot: None, holdfast: HoldfastStandIn) -> None:
    await writes(slack, CHANNEL, ADA, f"<@{ME}> hello")
    told = await whispered(slack, "not linked")
    assert told["user"] == ADA
    await slack.send("slash_commands", slack.command(CHANNEL, ADA, "link"))
    invited = await says(slack, PRIVATE, "holdfast.example/link")
    [(token, asked)] = holdfast.tokens.items()
    assert token in invited.text
    assert (asked["kind"], asked["platform_id"], asked["platform_user_id"]) == ("server", TEAM, ADA)
    assert asked["platform_name"] == "The harbour"
    await whispered(slack, "in private")
    assert slack.of_bot(CHANNEL) == []
    assert not [each for each in [*slack.whispers, *slack.answers] if token in each["text"]]


async def test_who_cannot_be_written_to_is_told_how(
    slack: SlackStandIn, bot: None, holdfast: HoldfastStandIn
) -> None:
    slack.shy.add(ADA)
    await writes(slack, CHANNEL, ADA, f"<@{ME}> link")
    await whispered(slack, "does not let me write to you")


async def test_a_message_that_comes_twice_is_one(
    slack: SlackStandIn, bot: None, holdfast: HoldfastStandIn
) -> None:
    holdfast.link("user", ADA)
    payload = slack.message(PRIVATE, ADA, "once")
    envelopes = [await slack.send("events_api", payload) for _ in range(3)]
    await slack.until(lambda: set(envelopes) <= set(slack.acks))
    assert len(holdfast.sent) == 1


async def test_an_event_is_acknowledged_only_when_it_is_in_safe_hands(
    slack: SlackStandIn, bot: None, holdfast: HoldfastStandIn
) -> None:
    holdfast.link("user", ADA)
    holdfast.down = True
    kept = await slack.send("events_api", slack.message(PRIVATE, ADA, "hello"))
    other = await slack.send("events_api", {"type": "event_callback", "event": {"type": "team_join"}})
    await slack.until(lambda: other in slack.acks)
    assert kept not in slack.acks
    holdfast.down = False
    await slack.until(lambda: kept in slack.acks)
    assert len(holdfast.sent) == 1


async def test_stop_by_command_stops_where_the_person_asked_last(
    slack: SlackStandIn, bot: None, holdfast: HoldfastStandIn
) -> None:
    holdfast.link("server", TEAM, ADA)
    for text in ("first", "second"):
        await writes(slack, CHANNEL, ADA, f"<@{ME}> {text}")
    first, second = await holdfast.turn(0), await holdfast.turn(1)
    await slack.send("slash_commands", slack.command(CHANNEL, ADA, "stop"))
    await whispered(slack, "Stopping.")
    assert (first.status, second.status) == ("running", "cancelled")
    await slack.send("slash_commands", slack.command(CHANNEL, GRACE, "stop"))
    await whispered(slack, "Nothing runs here.")


async def test_stop_as_a_word_stops_its_thread(slack: SlackStandIn, bot: None, holdfast: HoldfastStandIn) -> None:
    holdfast.link("server", TEAM, ADA)
    threads = [await writes(slack, CHANNEL, ADA, f"<@{ME}> {text}") for text in ("first", "second")]
    first, second = await holdfast.turn(0), await holdfast.turn(1)
    await writes(slack, CHANNEL, GRACE, f"<@{ME}> Stop", thread_ts=threads[0])
    await whispered(slack, "Stopping.")
    assert (first.status, second.status) == ("cancelled", "running")


async def test_the_owner_approves_with_a_button(slack: SlackStandIn, bot: None, holdfast: HoldfastStandIn) -> None:
    holdfast.link("server", TEAM, ADA)
    thread = await writes(slack, CHANNEL, GRACE, f"<@{ME}> note hi")
    turn = await holdfast.turn()
    await turn.asks(requests=[{"tool_call_id": "call_1", **REQUEST}])
    card = await says(slack, CHANNEL, "Approval needed")
    assert (card.thread, "&lt;hi&gt; &amp; more" in card.blocks[0]["text"]["text"]) == (thread, True)
    await slack.send("interactive", slack.pressed(card, "✅ Approve", GRACE))
    await whispered(slack, "Only the person")
    assert holdfast.decided == []
    await slack.send("interactive", slack.pressed(card, "✅ Approve", ADA))
    await whispered(slack, "👍")
    assert holdfast.decided[0]["decisions"] == [{"tool_call_id": "call_1", "type": "approve"}]
    await slack.until(lambda: not card.buttons)
    assert "Decided" in card.text


async def test_a_question_in_a_channel_is_answered_in_its_thread(
    slack: SlackStandIn, bot: None, holdfast: HoldfastStandIn
) -> None:
    holdfast.link("server", TEAM, ADA)
    thread = await writes(slack, CHANNEL, ADA, f"<@{ME}> ask me")
    turn = await holdfast.turn()
    await turn.asks("ask_user_question", question="Which?", options=["red", "blue"])
    card = await says(slack, CHANNEL, "Which?")
    await slack.send("interactive", slack.pressed(card, "blue", ADA))
    await slack.until(lambda: holdfast.decided)
    await turn.asks("ask_user_question", question="Why?")
    await says(slack, CHANNEL, "Why?")
    await writes(slack, CHANNEL, ADA, f"<@{ME}> because", thread_ts=thread)
    await slack.until(lambda: len(holdfast.decided) == 2)
    assert [each["answer"] for each in holdfast.decided] == ["blue", "because"]
    assert len(holdfast.sent) == 1


async def test_no_log_line_names_anybody_or_tells_a_secret(
    slack: SlackStandIn, bot: None, holdfast: HoldfastStandIn, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        await writes(slack, PRIVATE, ADA, "hello")
        await says(slack, PRIVATE, "/link/")
        slack.shy.add(GRACE)
        await writes(slack, CHANNEL, GRACE, f"<@{ME}> link")
        await whispered(slack, "does not let me")
        await slack.send("slash_commands", slack.command(CHANNEL, ADA, "stop"))
        await whispered(slack, "Nothing runs")
        await slack.send("events_api", {"event": [ADA]})
        await slack.until(lambda: "could not be read" in caplog.text)
    secrets = [ADA, GRACE, TEAM, CHANNEL, PRIVATE, BOT_TOKEN, APP_TOKEN, "ticket=", *holdfast.tokens, "hello"]
    assert [each for each in secrets if each in caplog.text] == []
