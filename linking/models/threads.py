"""Threads: which session a conversation on a platform goes on in."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from common.db import db_now
from common.ids import new_id
from linking.models.bots import Bot
from linking.models.links import PLATFORM_ID_MAX, Link, ServerLink, UserLink


class Thread(models.Model):
    """One conversation in a linked place, and its session. It ends with its link; the session stays its owner's.

    So whoever links the place next begins with sessions of their own.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    #: The bot of the link, here so that whose it is needs no join.
    bot = models.ForeignKey(Bot, on_delete=models.CASCADE, related_name="threads")
    server_link = models.ForeignKey(ServerLink, on_delete=models.CASCADE, null=True, related_name="threads")
    user_link = models.ForeignKey(UserLink, on_delete=models.CASCADE, null=True, related_name="threads")
    #: What the platform calls the conversation; in no log line. Empty: the one of a place without any.
    thread_id = models.CharField(max_length=PLATFORM_ID_MAX, blank=True, default="")
    session = models.OneToOneField("copilot.Session", on_delete=models.CASCADE, related_name="bot_thread")
    created_at = models.DateTimeField(db_default=db_now())

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="thread_of_one_link",
                condition=Q(server_link__isnull=False, user_link__isnull=True)
                | Q(server_link__isnull=True, user_link__isnull=False),
            ),
            # Of two first messages one makes the session, and the other one finds it.
            models.UniqueConstraint(name="thread_one_a_server", fields=["server_link", "thread_id"]),
            models.UniqueConstraint(name="thread_one_a_user", fields=["user_link", "thread_id"]),
        ]

    def __str__(self) -> str:
        return f"thread {self.pk}"

    @property
    def link(self) -> Link:
        """What it is a thread of."""
        link = self.server_link or self.user_link
        assert link is not None  # noqa: S101 - the constraint says so
        return link
