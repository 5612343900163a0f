"""What a bot may send about turns and decisions."""

from __future__ import annotations

from approvals.api.bodies import DecideBody
from common.bodies import Body, Text
from copilot.turns.submit import CLIENT_ID_MAX
from linking.api.components import Kind
from linking.bot_turns import NAME_MAX
from linking.models.links import PLATFORM_ID_MAX


class BotTurnBody(Body):
    """``POST bot/turns``."""

    kind = Kind(help_text="Which link answers for it: that of a server, or of a person's private messages.")
    platform_id = Text(
        allow_blank=False,
        max_length=PLATFORM_ID_MAX,
        help_text="Of the server or the person, as the platform has it.",
    )
    thread_id = Text(
        required=False,
        allow_null=True,
        max_length=PLATFORM_ID_MAX,
        help_text="Of the conversation there; each has a session of its own. Empty: that of a place without any.",
    )
    platform_user_id = Text(
        required=False,
        allow_null=True,
        max_length=PLATFORM_ID_MAX,
        help_text="Of who wrote it: the owner's linked identity writes for the owner, others as strangers. In "
        "private messages it is the linked person, who may be left out.",
    )
    author = Text(
        required=False,
        allow_null=True,
        max_length=NAME_MAX,
        help_text="What they are called; shown beside it.",
    )
    text = Text(help_text="At most 64,000 characters.")
    client_id = Text(
        required=False,
        allow_null=True,
        allow_blank=False,
        max_length=CLIENT_ID_MAX,
        help_text="Makes a repetition in the same thread harmless: the answer is the message's present state. "
        "The platform's id of the message will do.",
    )


class BotDecideBody(DecideBody):
    """``POST bot/approvals/{id}/decide``."""

    platform_user_id = Text(
        allow_blank=False,
        max_length=PLATFORM_ID_MAX,
        help_text="Of who decided: only the identity that the link's owner linked counts.",
    )
