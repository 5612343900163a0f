"""People who have something of everything, with their mark in all of it; and the rows of the database as text."""

from __future__ import annotations

import uuid
from datetime import date
from typing import Any

from django.apps import apps
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model
from django.test import Client

from approvals.models import Action, Presence, PushSubscription
from common.db import db_now
from copilot.models import Compaction, SendRate, Session, Turn, UsageCounter, UsageRecord, User
from copilot.operators.audit import record
from copilot.presets import create_preset
from copilot.turns.cancel import request_stop
from copilot.workspaces import workspace_of
from linking.bots import register_bot
from linking.keys import issue_key
from linking.link_tokens import Target, confirm_link_token, issue_link_token
from linking.login import issue_login_link
from linking.models import Bot, Link, Thread
from linking.webhooks.registration import set_webhook
from tests.approvals.asking import decide_now
from tests.approvals.waiting import notes, waiting
from tests.factories import accept, make_running, make_session
from tests.uploads import make_file


class Life:
    """What a person has. ``mark`` is in everything that they wrote, named or were answered."""

    def __init__(self, user: User, bot: Bot, operator: User) -> None:
        self.user, self.bot, self.operator = user, bot, operator
        self.mark = f"mark-of-{user.username}"
        User.objects.filter(pk=user.pk).update(instructions=f"Be {self.mark}.", email=f"{self.mark}@example.org")
        user.refresh_from_db()
        self.client = Client()
        self.client.force_login(user)
        self.chat()
        self.decide()
        self.upload()
        self.link()
        self.use()
        self.be_known()

    def chat(self) -> None:
        """A session with an answer, a summary and a file of a tool; a busy one, with a message that waits."""
        preset = create_preset(user=self.user, name=self.mark, prompt=f"Be {self.mark}.")
        self.session = make_session(self.user, title=self.mark, preset=str(preset.pk))
        holder = make_running(self.session, f"Say {self.mark}.")
        holder.begin()
        holder.settle(holder.step("calculator")[0], output={"text": self.mark})
        holder.begin()
        holder.say(self.mark)
        holder.finish()
        turn = holder.turn
        last = turn.messages.order_by("seq").last()
        assert last is not None
        covered = {"last": last, "up_to": last.seq, "summary": self.mark}
        sizes = {"tokens_before": 2, "tokens_after": 1}
        Compaction.objects.create(session=self.session, turn=turn, **covered, **sizes)
        self.turn = turn
        busy = make_session(self.user, title=f"busy {self.mark}")
        waiting(*notes(self.mark), session=busy)
        accept(busy, f"Later, {self.mark}.")
        folder = workspace_of(self.session.pk)
        folder.mkdir(parents=True)
        (folder / "notes.txt").write_text(self.mark)

    def decide(self) -> None:
        """A decision of theirs, remembered; it is on the log."""
        asked = waiting(*notes(self.mark), session=make_session(self.user, title=self.mark))
        decide_now(asked, "approve", scope="session")
        self.asked = Action.objects.get(pk=asked.pk)
        request_stop(user=self.user, session_id=asked.session, turn_id=asked.turn, reason="stopped")

    def upload(self) -> None:
        """A file in a session, and one in none."""
        self.files = [
            make_file(self.user, self.mark.encode(), name=f"{self.mark}.txt", session=self.session),
            make_file(self.user, self.mark.encode(), name=f"loose {self.mark}.txt"),
        ]

    def link(self) -> None:
        """A link that they confirmed, with a thread."""
        place = {"platform_id": f"{self.mark} place", "platform_user_id": f"{self.mark} there"}
        issued = issue_link_token(bot=self.bot, target=Target(kind="server", **place))
        link = confirm_link_token(user=self.user, token=issued.token, kind="server", code=issued.code)
        self.linked: Link = link
        Thread.objects.create(bot=self.bot, server_link=link, thread_id=self.mark, session=self.session)

    def use(self) -> None:
        """What they used, for a turn and for a side question."""
        made = {"user": self.user, "model": "demo/demo", "step": 1, "cost_microdollars": 5}
        UsageRecord.objects.create(turn=self.turn, fence=1, **made)
        UsageRecord.objects.create(aside=uuid.uuid4(), session=self.session, fence=0, **made)
        UsageCounter.objects.get_or_create(user=self.user, window="day", starts_on=date(2026, 1, 5))
        SendRate.objects.get_or_create(user=self.user)

    def be_known(self) -> None:
        """Keys, a login link, a browser, and what operators did to them."""
        issue_key(user=self.user, label=self.mark)
        issue_login_link(user=self.user)
        digest = {"endpoint": f"https://push.example.org/{self.mark}", "digest": self.mark}
        PushSubscription.objects.create(user=self.user, p256dh="x", auth="x", label=self.mark, **digest)
        Presence.objects.update_or_create(user=self.user, defaults={"front_at": db_now()})
        people = ContentType.objects.get_for_model(User)
        about = {"content_type": people, "object_id": str(self.user.pk), "object_repr": str(self.user)}
        LogEntry.objects.create(user=self.operator, action_flag=CHANGE, **about)
        record(self.operator, "set_tier", target_user=self.user)


def make_bot() -> Bot:
    """A bot that is told of what happens."""
    bot, _ = register_bot(name="concierge", platform="discord")
    set_webhook(bot=bot, url="https://bot.example.org/")
    return bot


def models() -> list[type[Model]]:
    """Every table that the project has, those of Django too."""
    return [model for model in apps.get_models(include_auto_created=True) if model._meta.managed]


def everything() -> dict[str, list[str]]:
    """Return all rows of all tables as text, by model; what logins hold is told apart."""
    rows = {}
    for model in models():
        manager: Any = model._base_manager
        if model._meta.label == "sessions.Session":
            rows[model._meta.label] = [repr(login.get_decoded()) for login in manager.all()]
        else:
            rows[model._meta.label] = [repr(row) for row in manager.values_list()]
    return rows


def mentions(*words: str) -> dict[str, int]:
    """Return in how many rows of each model one of these words is."""
    found = {
        label: sum(any(word in row for word in words) for row in rows) for label, rows in everything().items()
    }
    return {label: count for label, count in found.items() if count}


def words_of(life: Life) -> tuple[str, ...]:
    """Return everything by which rows could speak of a person: their id as both databases write it, their mark."""
    return str(life.user.pk), life.user.pk.hex, life.mark


def live_turn(session: Session) -> Turn:
    """Return the turn of a session that has not ended."""
    return session.turns.live().get()  # type: ignore[attr-defined, no-any-return]
