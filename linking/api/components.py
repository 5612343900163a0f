"""What the calls about links take and give, for checking and for the API document."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from common.bodies import Body, Flag, Text
from linking.models.links import PLATFORM_ID_MAX, LinkKind

#: Characters of a name that a bot may send; what is kept of it is shorter.
_NAME_MAX = 1000
#: What becomes of a token.
TOKEN_STATUSES = ("pending", "linked", "expired")


class Kind(serializers.ChoiceField):
    """``server`` or ``user``, and nothing that could be turned into one."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(choices=LinkKind.choices, **kwargs)

    def to_internal_value(self, data: Any) -> str:
        """Return the kind; anything but a string is refused."""
        if not isinstance(data, str):
            self.fail("invalid_choice", input=data)
        return str(super().to_internal_value(data))


def _id(**kwargs: Any) -> Text:
    return Text(max_length=PLATFORM_ID_MAX, **kwargs)


class ConfirmBody(Body):
    """What confirms a link."""

    kind = Kind(help_text="As the token's.")
    code = Text(allow_blank=False, max_length=100, help_text="The six digits that the bot showed.")


class ChangeLinkBody(Body):
    """What can be changed of a server's link."""

    allows_personal = Flag(help_text="Strangers may use your instructions and MCP servers.")


class ResolveBody(Body):
    """What may be linked."""

    kind = Kind()
    platform_id = _id(allow_blank=False, help_text="Of the server or the person, as the platform has it.")


class LinkTokenBody(Body):
    """What is to be linked."""

    kind = Kind()
    platform_id = _id(allow_blank=False, help_text="Of the server or the person, as the platform has it.")
    platform_name = Text(required=False, max_length=_NAME_MAX, help_text="What it is called; shown to the person.")
    platform_user_id = _id(
        required=False,
        help_text="Of the person who asks. On the platform nobody else decides for the owner; without it nobody "
        "does. For a person: left out, it is the `platform_id`.",
    )
    platform_user_name = Text(required=False, max_length=_NAME_MAX, help_text="What they are called.")


class LinkOutput(serializers.Serializer[Any]):
    """A link. ``allows_personal`` is there for servers."""

    id = serializers.UUIDField()
    kind = serializers.ChoiceField(LinkKind.choices)
    bot = serializers.CharField()
    platform = serializers.CharField()
    platform_id = serializers.CharField()
    platform_name = serializers.CharField(allow_blank=True)
    platform_user_id = serializers.CharField(required=False)
    platform_user_name = serializers.CharField(required=False, allow_blank=True)
    allows_personal = serializers.BooleanField(required=False)
    created_at = serializers.DateTimeField()


class LinkPage(serializers.Serializer[Any]):
    """All links of the caller, newest first."""

    results = LinkOutput(many=True)
    next = serializers.CharField(allow_null=True)
    previous = serializers.CharField(allow_null=True)


class LinkTokenOutput(serializers.Serializer[Any]):
    """What a token links to whom, and what that allows."""

    kind = serializers.ChoiceField(LinkKind.choices)
    bot = serializers.CharField()
    platform = serializers.CharField()
    platform_id = serializers.CharField()
    platform_name = serializers.CharField(allow_blank=True)
    platform_user_id = serializers.CharField(required=False, help_text="The identity that asked.")
    platform_user_name = serializers.CharField(required=False, allow_blank=True)
    account = serializers.CharField(help_text="The caller's name: what it would be linked to.")
    allows = serializers.ListField(child=serializers.CharField(), help_text="Sentences for the person.")
    expires_at = serializers.DateTimeField()


class ResolvedOutput(serializers.Serializer[Any]):
    """Whether something is linked."""

    linked = serializers.BooleanField()
    owner = serializers.CharField(required=False, help_text="The account's name, if it is.")


class IssuedOutput(serializers.Serializer[Any]):
    """A new token, which is shown this once."""

    token = serializers.CharField()
    code = serializers.CharField(help_text="Show it in private to whoever asked: they type it on the page.")
    url = serializers.CharField(help_text="The page on which it is confirmed.")
    expires_at = serializers.DateTimeField()


class TokenStatusOutput(serializers.Serializer[Any]):
    """What a token has come to."""

    status = serializers.ChoiceField(TOKEN_STATUSES)
