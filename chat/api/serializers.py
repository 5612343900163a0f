"""The bodies of requests: names and types. What values mean is checked by the services that use them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers

from common.bodies import Body, Flag, Text
from common.errors import invalid
from copilot.files import ATTACHMENTS_MAX
from copilot.models.preset import MANNER_MAX, NAME_MAX, PROMPT_MAX
from copilot.turns.sessions import INSTRUCTIONS_MAX

CLIENT_ID_MAX = 128


class SessionBody(Body):
    """What a person decides about a session."""

    nullable = frozenset({"preset", "tools"})

    title = Text(required=False, max_length=1000, help_text="At most 200 characters; empty: named by itself.")
    model = Text(required=False, max_length=200, help_text="`provider/model`; empty: the operator's default.")
    instructions = Text(required=False, max_length=INSTRUCTIONS_MAX, help_text="For the agent, in this session.")
    preset = Text(required=False, allow_null=True, max_length=100, help_text="Of `GET presets`; null: none.")
    tools = serializers.ListField(
        child=Text(max_length=200),
        required=False,
        allow_null=True,
        max_length=100,
        help_text="Globs over tool names; null offers every tool.",
    )
    approval_mode = Text(
        required=False,
        max_length=20,
        help_text="`ask_all` asks before every tool that neither the operator nor the person allows; `default`.",
    )


class ChangeSessionBody(SessionBody):
    """``PATCH sessions/{id}``."""

    archived = Flag(required=False)

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        """Return what is to change; whether a session is temporary never does."""
        if isinstance(data, Mapping) and "temporary" in data:
            problem = "is decided when a session is created. Create another one."
            raise invalid({"temporary": problem}, code="unknown_field")
        return super().to_internal_value(data)


class NewSessionBody(SessionBody):
    """``POST sessions``."""

    temporary = Flag(
        required=False,
        help_text="Not listed, never named by itself, and deleted some time after its last turn. For good.",
    )
    client_id = Text(
        required=False,
        allow_null=True,
        allow_blank=False,
        max_length=CLIENT_ID_MAX,
        help_text="Sent again, the call returns the session that it created.",
    )


class PresetBody(Body):
    """``POST presets``."""

    name = Text(max_length=NAME_MAX, help_text="One line; no two of yours have the same, whatever the case.")
    prompt = Text(max_length=PROMPT_MAX, help_text="What the agent is to be like, and to do.")
    tone = Text(required=False, max_length=MANNER_MAX, help_text="One line, such as `friendly`.")
    style = Text(required=False, max_length=MANNER_MAX, help_text="One line, such as `short sentences`.")  # type: ignore[assignment]


class ContextBody(Body):
    """The page that a person looks at while asking."""

    url = Text(required=False, max_length=8000)
    content = Text(required=False)


class SendBody(Body):
    """``POST sessions/{id}/messages``."""

    text = Text(help_text="At most 64,000 characters.")
    client_id = Text(
        required=False,
        allow_null=True,
        allow_blank=False,
        max_length=CLIENT_ID_MAX,
        help_text="Makes a repetition harmless: it is answered with the message's present state.",
    )
    model = Text(required=False, allow_null=True, max_length=200, help_text="For this turn only.")
    effort = Text(required=False, allow_null=True, help_text="`none`, `low`, `medium` or `high`.")
    attachments = serializers.ListField(
        child=Text(max_length=100),
        required=False,
        allow_null=True,
        max_length=ATTACHMENTS_MAX,
        help_text="Ids of files (`POST files`) that go along, at most 10.",
    )
    context = ContextBody(required=False, allow_null=True)  # type: ignore[assignment] # a field of the body
    timezone = Text(required=False, allow_null=True, max_length=100, help_text="A name such as `Europe/Berlin`.")
    delivery = Text(
        required=False, allow_null=True, help_text="`asap`, `next` or `interrupt`: when a busy session reads it."
    )


class EditBody(Body):
    """``POST messages/{id}/edit``."""

    text = Text(help_text="At most 64,000 characters.")
    client_id = Text(
        required=False,
        allow_null=True,
        allow_blank=False,
        max_length=CLIENT_ID_MAX,
        help_text="Makes a repetition harmless: it is answered with the new message's present state.",
    )


class RegenerateBody(Body):
    """``POST sessions/{id}/regenerate``."""

    client_id = Text(
        required=False,
        allow_null=True,
        allow_blank=False,
        max_length=CLIENT_ID_MAX,
        help_text="Makes a repetition harmless: it is answered with the present state of the turn that it began.",
    )
    model = Text(required=False, allow_null=True, max_length=200, help_text="For this answer only.")


class BranchBody(Body):
    """``POST sessions/{id}/branch``."""

    message = Text(max_length=100, help_text="A message of the branch to show, such as one of the `siblings`.")


class AsideBody(Body):
    """``POST sessions/{id}/aside``."""

    text = Text(help_text="At most 64,000 characters.")


class CancelBody(Body):
    """``POST sessions/{id}/cancel``."""

    turn = Text(required=False, allow_null=True, max_length=100, help_text="Stop only this turn.")
