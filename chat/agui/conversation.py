"""The conversation as the client has it: made of what it sent and of the events that it was told, as its own code
does it. So it can be told again where events alone cannot say what changed."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

Json = dict[str, Any]


class Conversation:
    """The client's messages.

    Args:
        messages: those that it sent.
    """

    def __init__(self, messages: list[Json]) -> None:
        self._messages = [message for message in messages if message.get("role") != "activity"]
        #: Of what was told in this run: the text so far, and the seq with which it began.
        self._texts: dict[str, list[str]] = {}
        self._began: dict[str, int] = {}

    def apply(self, seq: int, event: Json) -> None:
        """Take an event that the client was told into account.

        Args:
            seq: of the turn's event with which began what it speaks of.
        """
        match event["type"]:
            case "TEXT_MESSAGE_START" | "REASONING_MESSAGE_START":
                self._began[event["messageId"]] = seq
                self._texts[event["messageId"]] = []
                self._messages.append({"id": event["messageId"], "role": event["role"], "content": ""})
            case "TEXT_MESSAGE_CONTENT" | "REASONING_MESSAGE_CONTENT":
                self._texts[event["messageId"]].append(event["delta"])
            case "TOOL_CALL_START":
                self._began[event["toolCallId"]] = seq
                self._call(event)
            case "TOOL_CALL_ARGS":
                self.edit(event["toolCallId"], event["delta"])
            case "TOOL_CALL_RESULT":
                self._began[event["messageId"]] = seq
                self._result(event)

    def _call(self, event: Json) -> None:
        parent = next((each for each in self._messages if each["id"] == event["parentMessageId"]), None)
        if parent is None:
            parent = {"id": event["parentMessageId"], "role": "assistant"}
            self._messages.append(parent)
        function = {"name": event["toolCallName"], "arguments": ""}
        call = {"id": event["toolCallId"], "type": "function", "function": function}
        parent["toolCalls"] = [*parent.get("toolCalls", ()), call]

    def _result(self, event: Json) -> None:
        names = {"id": event["messageId"], "role": "tool", "toolCallId": event["toolCallId"]}
        place = next((n for n, each in enumerate(self._messages, 1) if _has(each, event["toolCallId"])), 0)
        place = place or len(self._messages)
        while place < len(self._messages) and self._messages[place].get("role") == "tool":
            place += 1
        more = {"metadata": event["metadata"]} if "metadata" in event else {}
        self._messages.insert(place, {**names, "content": event["content"], **more})

    def has(self, message_id: str) -> bool:
        """Whether there is a message of this id."""
        return any(message["id"] == message_id for message in self._messages)

    def edit(self, call_id: str, arguments: str) -> bool:
        """Let a call have other arguments; return whether there is such a call."""
        for message in self._messages:
            for call in message.get("toolCalls", ()):
                if call["id"] != call_id:
                    continue
                call["function"] = {**call["function"], "arguments": arguments}
                return True
        return False

    def forget(self, to_seq: int) -> bool:
        """Take back what began after a seq; return whether there was anything.

        A client keeps thoughts that a snapshot does not have: they stay, and are empty.
        """
        gone = {name for name, began in self._began.items() if began > to_seq}
        for name in gone:
            del self._began[name]
            _ = self._texts.pop(name, None)
        kept = []
        for message in self._messages:
            calls = [call for call in message.get("toolCalls", ()) if call["id"] not in gone]
            emptied = "toolCalls" in message and not calls and "content" not in message
            if "toolCalls" in message:
                message["toolCalls"] = calls
            if message["id"] in gone and message["role"] == "reasoning":
                kept.append({**message, "content": ""})
            elif message["id"] not in gone and not emptied:
                kept.append(message)
        self._messages = kept
        return bool(gone)

    def snapshot(self) -> Json:
        """Return the event that tells all of it."""
        return {"type": "MESSAGES_SNAPSHOT", "messages": [self._shown(message) for message in self._messages]}

    def _shown(self, message: Json) -> Json:
        if message["id"] in self._texts:
            message = {**message, "content": "".join(self._texts[message["id"]])}
        return {name: value for name, value in message.items() if name != "toolCalls" or value}


def _has(message: Json, call_id: str) -> bool:
    return any(call["id"] == call_id for call in message.get("toolCalls", ()))


def before_answer(messages: list[Json], place: int) -> list[Json]:
    """Return a conversation as it was before the answer to its message at ``place`` (from 1)."""
    return without(messages, {message["id"] for message in messages[place:]})


def without(messages: list[Json], ids: Set[str]) -> list[Json]:
    """Return a conversation without some messages, which are told again under the same names.

    Thoughts stay, empty: a client keeps those that a snapshot does not have, and would have them twice.
    """
    return [
        {**message, "content": ""} if message["id"] in ids else message
        for message in messages
        if message["id"] not in ids or message["role"] == "reasoning"
    ]
