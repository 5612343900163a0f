"""Places on a platform that are linked, and what people there say and decide.

Fixtures, imported by the conftest of this folder: ``server`` and ``private``, linked to the person that a test is
about.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from copilot.models import Session, Turn, User
from copilot.turns.submit import Accepted
from linking.bot_turns import Place, send_to_thread
from linking.bots import register_bot
from linking.links import unlink
from linking.models import Bot, Link, ServerLink, Thread, UserLink
from tests.linking.conftest import SERVER_ID, USER_ID, BotApi

#: Somebody else on the platform.
STRANGER_ID = "plat-usr-9920144556"


@dataclass
class Linked:
    """A linked place, with its bot's calls."""

    link: Link
    api: BotApi

    @property
    def bot(self) -> Bot:
        return self.link.bot

    @property
    def where(self) -> dict[str, str]:
        """The place, as a body has it."""
        return {"kind": str(self.link.kind), "platform_id": self.link.platform_id}

    def body(self, text: str = "hello", **over: Any) -> dict[str, Any]:
        """Return what a bot sends of what somebody says."""
        return {**self.where, "text": text, **over}

    def post(self, text: str = "hello", **over: Any) -> Any:
        """Have the bot pass it on over REST."""
        return self.api.post("turns", self.body(text, **over))

    def say(self, text: str = "hello", *, thread_id: str = "", **over: Any) -> Accepted:
        """Have it accepted without REST."""
        return send_to_thread(Place(bot=self.bot, **self.where, thread_id=thread_id), text=text, **over)

    def turn(self, text: str = "hello", **over: Any) -> Turn:
        """Return the turn that begins with it."""
        turn = self.say(text, **over).turn
        assert turn is not None
        turn.refresh_from_db()
        return turn

    def session(self, thread_id: str = "") -> Session:
        """Return the session of a thread."""
        column = "server_link" if isinstance(self.link, ServerLink) else "user_link"
        return (
            Thread.objects.select_related("session__user")
            .get(**{column: self.link, "thread_id": thread_id})
            .session
        )

    def unlink(self) -> None:
        """Have the owner take the link back."""
        unlink(user=self.link.owner, link_id=self.link.pk)


def link_server(owner: User, *, bot: str = "concierge", scopes: tuple[str, ...] = (), **over: Any) -> Linked:
    """Link a server to a person, who asked for it by the identity ``USER_ID`` unless told otherwise."""
    return _linked(ServerLink, owner, bot, scopes, **{"platform_id": SERVER_ID, **over})


def link_private(owner: User, *, bot: str = "concierge", scopes: tuple[str, ...] = (), **over: Any) -> Linked:
    """Link the private messages of ``USER_ID`` to a person."""
    return _linked(UserLink, owner, bot, scopes, **{"platform_id": USER_ID, **over})


def _linked(model: Any, owner: User, name: str, scopes: tuple[str, ...], **columns: Any) -> Linked:
    bot, secret = register_bot(name=name, platform="discord", scopes=scopes)
    link = model.objects.create(bot=bot, owner=owner, **{"asked_by": USER_ID, "asked_by_name": "ada_k", **columns})
    return Linked(link, BotApi(secret))


@pytest.fixture
def server(user: User) -> Linked:
    """A server that is linked to the person that a test is about."""
    return link_server(user)


@pytest.fixture
def private(user: User) -> Linked:
    """The private messages of the person that a test is about."""
    return link_private(user)
