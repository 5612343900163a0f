"""A person who has one of everything, and what may stand in a request for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from django.utils import timezone

from approvals.models import Rule
from common.ids import new_id
from copilot.models import Turn, User
from copilot.presets import create_preset
from copilot.turns.finish import failed
from linking.bots import register_bot
from linking.keys import issue_key
from linking.link_tokens import Target, issue_link_token
from linking.models import ServerLink, Thread
from linking.webhooks.registration import set_webhook
from tests.approvals.reaching import Browser
from tests.approvals.waiting import waiting
from tests.factories import accept, make_running, make_session
from tests.uploads import make_file

LEFT_OUT = object()
#: Values that mean something to the server, wherever a body or a query has a field of that name.
KNOWN = {
    "model": "demo/demo",
    "timezone": "Europe/Paris",
    "effort": "low",
    "delivery": "next",
    "approval_mode": "ask_all",
    "tools": ["calculator"],
    "type": "approve",
    "scope": "session",
    "scopes": ["chat"],
    "answer": LEFT_OUT,  # to what was not a question
    "client_id": LEFT_OUT,  # a second one with another body would be refused
    "thread_id": "thread",
    "platform_user_id": "ada",
    "user": "ada",
    "tier": 2,
    "all": "stuck_queued",
    "ids": LEFT_OUT,  # beside a category
}


class World:
    """What ``owner`` has; ``ids`` are by the names that paths give them, ``known`` by those of fields."""

    def __init__(self, owner: User) -> None:
        self.owner = owner
        self.bot, self.bot_key = register_bot(name="concierge", platform="discord", scopes=["approve"])
        self.fill()

    def fill(self) -> None:
        """Make one of everything, whatever is left of those before."""
        over = {"status": "cancelled", "outcome": "stopped", "finished_at": timezone.now(), "last_seq": 1}
        Turn.objects.filter(status="queued").update(**over)  # a worker would take them first
        answered = make_running(make_session(self.owner))
        answered.answer()
        asked = waiting(session=make_session(self.owner))
        busy = Turn.objects.get(pk=asked.turn).session
        queued = accept(busy, "One more thing.").message
        message = answered.session.messages.get(role="user")
        held = make_running(make_session(self.owner))
        accept(held.session, "Later.")
        held.finish(failed("quota", "Nothing left."))
        preset = create_preset(user=self.owner, name=f"Preset {answered.turn.pk}", prompt="Be brief.")
        file = make_file(self.owner)
        browser = Browser(str(asked.pk))
        unlinked = Target(kind="server", platform_id=f"server {new_id()}")
        token = issue_link_token(bot=self.bot, target=unlinked)
        link = ServerLink.objects.create(
            bot=self.bot, platform_id=f"server {new_id()}", owner=self.owner, asked_by="ada"
        )
        for session in (answered.session, busy):
            Thread.objects.create(bot=self.bot, server_link=link, thread_id=str(session.pk), session=session)
        set_webhook(bot=self.bot, url="https://bot.example.org/")
        self.ids = {
            "session_id": answered.session.pk,
            "chat": answered.session.pk,
            "model_id": "demo/demo",
            "turn_id": answered.turn.pk,
            "message_id": message.pk,
            "queued": (busy.pk, queued.pk),
            "held": held.session.pk,
            "action_id": asked.pk,
            "rule_id": Rule.objects.create(user=self.owner, tool="shell", digest=str(asked.pk)).pk,
            "key_id": issue_key(user=self.owner)[0].pk,
            "preset_id": preset.pk,
            "file_id": file.pk,
            "subscription_id": browser.subscribe(self.owner).pk,
            "link_id": link.pk,
            "token": token.token,
        }
        self.known = {
            **KNOWN,
            "session": str(answered.session.pk),
            "message": str(message.pk),
            "turn": str(answered.turn.pk),
            "preset": str(preset.pk),
            "attachments": [str(file.pk)],
            "decisions": [{"tool_call_id": asked.requests[0]["tool_call_id"], "type": "approve"}],
            "endpoint": browser.endpoint,
            "keys": browser.keys,
            "kind": "server",
            "code": token.code,
            "platform_id": link.platform_id,
            "url": "https://bot.example.org/holdfast",
        }

    def path(self, names: list[str], path: str) -> dict[str, str]:
        """Return what there really is for the names in a path."""
        if path.endswith("/deliver"):
            return {"session_id": str(self.ids["held"])}
        if "/queued/" in path:
            session, message = self.ids["queued"]
            return {"session_id": str(session), "message_id": str(message)}
        return {name: str(self.ids[name]) for name in names}

    def replaced(self, value: Any, choose: Callable[[], bool]) -> Any:
        """Return a generated value in which chosen fields have values that mean something here."""
        if isinstance(value, dict):
            chosen = {name for name in value if name in self.known and choose()}
            return {
                name: self.known[name] if name in chosen else self.replaced(inner, choose)
                for name, inner in value.items()
                if name not in chosen or self.known[name] is not LEFT_OUT
            }
        if isinstance(value, list):
            return [self.replaced(inner, choose) for inner in value]
        return value


def shown(value: Any) -> str:
    """Return a generated value for a message about a failure."""
    try:
        return json.dumps(value, ensure_ascii=True)[:500]
    except (TypeError, ValueError):
        return repr(value)[:500]
