"""What is meant for the bot is read right, and nothing that arrives breaks the reading."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linking.platforms import telegram_receiver
from linking.platforms.base import Incoming, Press
from linking.platforms.telegram_updates import NAME_MAX, QUOTED_MAX, Bot, read_update

BOT = Bot(77, "Agent_Bot")
ADA = {"id": 5, "is_bot": False, "first_name": "Ada", "last_name": "L."}
PRIVATE = {"id": 5, "type": "private", "first_name": "Ada"}
GROUP = {"id": -100, "type": "supergroup", "title": "Ops"}
FORUM = {**GROUP, "is_forum": True}


def _message(text: str | None, chat: dict[str, Any] = GROUP, **more: Any) -> dict[str, Any]:
    message = {"message_id": 9, "date": 1, "chat": chat, "from": ADA, "text": text, **more}
    return {"update_id": 1, "message": {name: value for name, value in message.items() if value is not None}}


def _read(text: str | None, chat: dict[str, Any] = GROUP, **more: Any) -> Incoming | None:
    found = read_update(_message(text, chat, **more), BOT)
    assert not isinstance(found, Press)
    return found


def _mention(text: str, name: str, kind: str = "mention", **more: Any) -> dict[str, Any]:
    before = text.index(name)
    units = len(text[:before].encode("utf-16-le")) // 2
    return {"type": kind, "offset": units, "length": len(name), **more}


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("@agent_bot hello", "hello"),
        ("hello @AGENT_BOT", "hello"),
        ("well 😀😀 @agent_bot, hello", "well 😀😀 , hello"),
        ("@agent_bot", ""),
    ],
    ids=["first", "last", "middle", "alone"],
)
def test_a_mention_is_found_and_taken_out(text: str, left: str) -> None:
    name = text[text.index("@") : text.index("@") + len("@agent_bot")]
    found = _read(text, entities=[_mention(text, name)])
    assert found is not None
    assert found.text == left


def test_a_person_without_a_username_can_be_the_bot() -> None:
    entity = _mention("Agent, hello", "Agent", "text_mention", user={"id": 77})
    found = _read("Agent, hello", entities=[entity])
    assert found is not None
    assert _read("Agent, hello", entities=[{**entity, "user": {"id": 78}}]) is None


@pytest.mark.parametrize(
    ("text", "entities"),
    [
        ("hello", None),
        ("@another_bot hello", [{"type": "mention", "offset": 0, "length": 12}]),
        ("mail me@agent_bot", None),
        ("/stop@another_bot", None),
        ("/unknown", None),
        ("@agent_bot", [{"type": "mention", "offset": -1, "length": 10}, {"offset": "0"}, 5]),
    ],
    ids=["nobody", "another", "no-mention", "another's-command", "unknown-command", "odd-entities"],
)
def test_in_a_group_what_is_meant_for_others_is_left_alone(text: str, entities: Any) -> None:
    assert _read(text, entities=entities) is None


@pytest.mark.parametrize(
    ("text", "command", "left"),
    [
        ("/ask what?", "ask", "what?"),
        ("/ASK@Agent_Bot what?", "ask", "what?"),
        ("/ask\nover\nlines", "ask", "over\nlines"),
        ("/stop", "stop", ""),
        ("/unknown@agent_bot x", "", "/unknown x"),
    ],
    ids=["plain", "named", "lines", "bare", "unknown"],
)
def test_commands(text: str, command: str, left: str) -> None:
    found = _read(text)
    assert found is not None
    assert (found.command, found.text) == (command, left)


def test_in_private_everything_is_meant_and_unknown_commands_are_text() -> None:
    found = _read("/words 20", PRIVATE)
    assert found is not None
    assert (found.command, found.text, found.place.kind, found.place.thread_id) == ("", "/words 20", "user", "")


def test_a_topic_in_a_private_chat_is_a_thread_too() -> None:
    found = _read("hello", PRIVATE, message_thread_id=4, is_topic_message=True)
    assert found is not None
    assert found.place.thread_id == "4"


def test_what_opened_a_topic_is_not_what_is_answered() -> None:
    opener = {"message_id": 4, "from": {"id": 77, "is_bot": True}, "forum_topic_created": {"name": "News"}}
    topic = {"message_thread_id": 4, "is_topic_message": True}
    assert _read("hello all", FORUM, reply_to_message=opener, **topic) is None
    answered = {"message_id": 4, "from": {"id": 77, "is_bot": True}, "text": "Hi."}
    found = _read("hello", FORUM, reply_to_message=answered, **topic)
    assert found is not None
    assert (found.reply_to, found.quoted) == ("4", "")


def test_a_quote_goes_along_also_of_the_bots_own_words() -> None:
    answered = {"message_id": 4, "from": {"id": 77, "is_bot": True}, "text": "One. Two."}
    found = _read("this", reply_to_message=answered, quote={"text": "Two."})
    assert found is not None
    assert found.quoted == "Two."


def test_a_caption_counts_like_a_text() -> None:
    caption = "@agent_bot look"
    more: dict[str, Any] = {
        "caption": caption,
        "caption_entities": [_mention(caption, "@agent_bot")],
        "photo": [{}],
    }
    found = _read(None, **more)
    assert found is not None
    assert (found.text, found.files) == ("look", True)


@pytest.mark.parametrize(
    "more",
    [
        {"is_automatic_forward": True},
        {"from": {"id": 9, "is_bot": True, "first_name": "Other"}},
        {"from": {"id": 9, "is_bot": True}, "sender_chat": {"id": -5, "type": "channel"}},
        {"from": None},
        {"message_id": "9"},
        {"chat": {"id": -5, "type": "channel"}},
        {"chat": {"id": "5"}},
    ],
    ids=["forward", "bot", "channel", "nobody", "odd-id", "in-channel", "odd-chat"],
)
def test_what_no_person_said_is_left_alone(more: dict[str, Any]) -> None:
    assert _read("/ask hello", **more) is None


def test_service_messages_say_nothing() -> None:
    assert _read(None, PRIVATE, pinned_message={"message_id": 1}) is None
    assert _read(None, new_chat_members=[ADA]) is None


def test_names_and_quotes_are_cut() -> None:
    said = {"message_id": 4, "from": {"id": 6, "first_name": "G"}, "text": "x" * 9000}
    sender = {**ADA, "first_name": "A" * 500}
    found = _read("/ask", reply_to_message=said, **{"from": sender})
    assert found is not None
    assert (len(found.person.name), len(found.quoted)) == (NAME_MAX, QUOTED_MAX)


_FIELDS = [
    *("message", "callback_query", "chat", "from", "id", "text", "entities", "offset"),
    *("length", "type", "reply_to_message", "quote", "sender_chat", "message_id", "data", "message_thread_id"),
    *("photo",),
]
_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.sampled_from(["", "/ask hi", "@agent_bot", "private", "mention"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(_FIELDS),
            inner,
            max_size=6,
        )
    ),
    max_leaves=25,
)


@settings(max_examples=150, deadline=None)
@given(update=_VALUES, message=_VALUES)
def test_no_update_breaks_the_reading(update: Any, message: Any) -> None:
    read_update(update, BOT)
    read_update({"message": message}, BOT)
    read_update({"callback_query": message}, BOT)
    odd = _message("@agent_bot hi")
    odd["message"] |= message if isinstance(message, dict) else {}
    read_update(odd, BOT)


@pytest.mark.parametrize("answer", [None, {}, [1], [{"update_id": "x"}]], ids=["null", "object", "number", "word"])
async def test_an_answer_without_updates_is_a_failure_and_not_asked_for_on_and_on(
    answer: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(telegram_receiver, "AGAIN_SECONDS", 0.0)
    stop, answers = asyncio.Event(), [answer]

    class Proxy:
        async def call(self, *_: Any, **__: Any) -> Any:
            if answers:
                return answers.pop()
            stop.set()
            return []

    async with asyncio.timeout(5):
        await telegram_receiver.Receiver(Proxy(), BOT, None).poll(stop)  # type: ignore[arg-type]
    assert [record.message for record in caplog.records] == ["no updates"]
