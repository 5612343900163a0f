"""The objects of the API, as the API document describes them. They are made in ``copilot.objects``."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from approvals.api.actions import Approval

Serializer = serializers.Serializer[Any]


def _maybe(field: type[serializers.Field[Any, Any, Any, Any]], **kwargs: Any) -> Any:
    """A field that is absent when there is nothing to say."""
    return field(required=False, **kwargs)


class SessionUsage(Serializer):
    """What all turns of a session used."""

    input_tokens = serializers.IntegerField()
    output_tokens = serializers.IntegerField()
    cost_microdollars = _maybe(serializers.IntegerField, help_text="As far as costs are known.")


class Session(Serializer):
    """A conversation."""

    id = serializers.UUIDField()
    title = serializers.CharField(allow_blank=True)
    title_source = serializers.CharField(help_text="`auto`, `model` or `person`.")
    model = serializers.CharField()
    instructions = serializers.CharField(allow_blank=True)
    temporary = serializers.BooleanField()
    approval_mode = serializers.CharField(help_text="`default` or `ask_all`.")
    archived = serializers.BooleanField()
    revision = serializers.IntegerField(help_text="Grows with every change.")
    rewrites = serializers.IntegerField(
        help_text="Grows when messages that were shown gave way to others, after an edit, another answer or a "
        "change of branch: what was read of the transcript before is to be read again."
    )
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField(help_text="Of the last activity, not of the last renaming.")
    usage = SessionUsage()
    preset = _maybe(serializers.UUIDField, help_text="Absent: none.")
    tools = _maybe(serializers.ListField, child=serializers.CharField(), help_text="Globs; absent: every tool.")
    parent = _maybe(serializers.UUIDField, help_text="The session whose agent started this one.")
    live = _maybe(
        serializers.CharField,
        help_text="Of its turn that has not ended: `queued`, `running` or `requires_action`, which waits for a "
        "person. Absent while nothing goes on.",
    )


class Branch(Serializer):
    """Where a message stands among those that were said instead of each other."""

    index = serializers.IntegerField(help_text="From 0: `siblings[index]` is the message itself.")
    count = serializers.IntegerField(help_text="At least 2.")
    siblings = serializers.ListField(
        child=serializers.UUIDField(), help_text="The messages in this place, itself included, oldest first."
    )


class Message(Serializer):
    """One message."""

    id = serializers.UUIDField()
    seq = serializers.IntegerField(allow_null=True, help_text="Place in the transcript; null while it waits.")
    role = serializers.CharField(help_text="`user` or `assistant`.")
    state = serializers.CharField(help_text="`queued`, `done`, `partial` or `failed`.")
    turn = serializers.UUIDField(allow_null=True, help_text="The turn that answers it, or that wrote it.")
    parts = serializers.ListField(child=serializers.DictField(), help_text="AI SDK UI message parts.")
    created_at = serializers.DateTimeField()
    client_id = _maybe(serializers.CharField)
    author = _maybe(serializers.CharField, help_text="Who wrote it, where a bot says so.")
    position = _maybe(serializers.IntegerField, help_text="From 1; only while it waits.")
    held = _maybe(serializers.BooleanField, help_text="Waits for a person to say so; only while it waits.")
    waiting_for = _maybe(serializers.CharField, help_text="`limit`: held because a usage limit was reached.")
    resets_at = _maybe(serializers.DateTimeField, help_text="Until when that limit lasts.")
    branch = _maybe(
        Branch, help_text="When something else was said in its place too, by an edit or as another answer."
    )


class TurnError(Serializer):
    """Why a turn failed, or why it was cancelled."""

    code = serializers.CharField()
    detail = serializers.CharField(allow_blank=True)
    hint = _maybe(serializers.CharField)
    retryable = _maybe(serializers.BooleanField)


class TurnUsage(Serializer):
    """What a turn used, over all its model calls."""

    input_tokens = serializers.IntegerField(help_text="With cache reads and writes.")
    output_tokens = serializers.IntegerField(help_text="With reasoning.")
    reasoning_tokens = serializers.IntegerField()
    cache_read_tokens = serializers.IntegerField()
    cache_write_tokens = serializers.IntegerField()
    cost_microdollars = _maybe(serializers.IntegerField)
    cost_source = serializers.CharField(
        help_text="`provider`, `table`, `estimate` or `unknown`; of several calls the least certain."
    )
    estimated = _maybe(
        serializers.BooleanField, help_text="Some tokens are: a call was cut off, or its provider counts none."
    )
    duration_ms = serializers.IntegerField(help_text="Of running; waiting is not counted.")
    first_chunk_ms = serializers.IntegerField(allow_null=True)


class TurnContext(Serializer):
    """How much of the model's window the conversation takes."""

    used = serializers.IntegerField()
    window = _maybe(serializers.IntegerField)
    estimated = serializers.BooleanField()


class Turn(Serializer):
    """One answer of an agent."""

    id = serializers.UUIDField()
    session = serializers.UUIDField()
    status = serializers.CharField(
        help_text="`queued`, `running`, `requires_action`, `completed`, `failed` or `cancelled`."
    )
    origin = serializers.CharField(help_text="`web`, `key`, `bot`, `child` or `background`.")
    attempt = serializers.IntegerField()
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)
    model = serializers.CharField()
    effort = _maybe(serializers.CharField)
    next_turn = _maybe(serializers.UUIDField, help_text="The turn that took the messages which waited.")
    parent = _maybe(serializers.UUIDField, help_text="In a child session: the turn that asked for it.")
    message_ids = serializers.ListField(child=serializers.UUIDField(), help_text="What it wrote, finished ones.")
    text = serializers.CharField(allow_blank=True, help_text="All their text, joined with nothing between.")
    error = _maybe(TurnError)
    usage = TurnUsage()
    context = _maybe(TurnContext)
    approval = _maybe(Approval, help_text="What it waits for, with the status `requires_action`.")


class SessionDetail(Session):
    """A session with what an open page shows."""

    messages = Message(many=True, help_text="The newest 50, oldest first.")
    active_turn = Turn(allow_null=True)
    queued = Message(many=True)


class SessionPage(Serializer):
    """A page of sessions."""

    results = Session(many=True)
    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)


class MessagePage(Serializer):
    """A page of messages."""

    results = Message(many=True)
    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)


class Accepted(Serializer):
    """What became of a message that was sent."""

    queued = serializers.BooleanField()
    message = Message()
    turn = _maybe(Turn, help_text="When a turn began.")
    position = _maybe(serializers.IntegerField, help_text="When it waits: its place, from 1.")
    delivery = _maybe(serializers.CharField, help_text="When it waits: `asap`, `next` or `interrupt`.")
    waiting_for = _maybe(serializers.CharField, help_text="When it waits: `turn`, `approval` or `limit`.")


class Cancelled(Serializer):
    """What became of a request to stop."""

    cancelled = serializers.BooleanField(help_text="The turn has ended as stopped.")
    confirmed = serializers.BooleanField(help_text="It ended by itself: nobody had to take it from its worker.")
    turn = _maybe(serializers.UUIDField, help_text="Absent when nothing was running.")


class Preset(Serializer):
    """Instructions with a name, which sessions can be given."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    prompt = serializers.CharField()
    tone = _maybe(serializers.CharField)
    style = _maybe(serializers.CharField)
    operator = serializers.BooleanField(help_text="The operator's: everybody has it, and nobody deletes it here.")
    created_at = serializers.DateTimeField()


class PresetPage(Serializer):
    """All that the caller can use: the operator's first, each group by name."""

    results = Preset(many=True)
    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)


class Event(Serializer):
    """One event of a turn."""

    seq = serializers.IntegerField()
    chunk = serializers.DictField(help_text="A chunk of the AI SDK UI message stream, or a `data-…` one.")


class EventPage(Serializer):
    """Some events of a turn."""

    events = Event(many=True)
    next = serializers.IntegerField(help_text="The `after` of the next call.")
    terminal = serializers.BooleanField(help_text="The turn's last event is on this page or before it.")


class UsageWindow(Serializer):
    """How much of one limit was used."""

    percent_used = serializers.FloatField(help_text="100.0 when it is reached, else at most 99.9.")
    resets_at = serializers.DateTimeField()


class Usage(Serializer):
    """How much of their limits a person has used."""

    daily = UsageWindow(allow_null=True, help_text="Null: there is no limit.")
    weekly = UsageWindow(allow_null=True, help_text="Null: there is no limit.")
    tier = serializers.IntegerField(help_text="Multiplies the limits.")


class Model(Serializer):
    """A model that can answer."""

    id = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment] # a field here, not the serializer's own label
    context = serializers.IntegerField(allow_null=True)  # type: ignore[assignment]
    tools = serializers.BooleanField()
    images = serializers.BooleanField()
    input_price = serializers.IntegerField(allow_null=True)
    output_price = serializers.IntegerField(allow_null=True)


class File(Serializer):
    """A file: uploaded, or left in the workspace of a session by a tool."""

    id = serializers.CharField(help_text="For `GET files/{id}`, and for `attachments` if it was uploaded.")
    name = serializers.CharField()
    type = serializers.CharField(help_text="What its bytes are; `application/octet-stream` when nobody knows.")
    size = serializers.IntegerField(help_text="In bytes.")
    created_at = serializers.DateTimeField(help_text="Of a file in a workspace: when it last changed.")
    session = _maybe(serializers.UUIDField, help_text="The session that it belongs to.")
    path = _maybe(serializers.CharField, help_text="Only in a workspace: its place in there.")
