"""Bots: programs that bring the agents to a chat platform, and their keys."""

from __future__ import annotations

from typing import Self

from django.db import models
from django.db.models import Q

from common.db import db_now
from common.ids import new_id


class BotQuerySet(models.QuerySet["Bot"]):
    """Composable selections of bots."""

    def live(self) -> Self:
        """Bots that are not switched off."""
        return self.filter(disabled_at__isnull=True)


class Bot(models.Model):
    """A program that speaks for the people of a platform. It sees nothing of other bots."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    name = models.CharField(max_length=64, unique=True)
    #: Where it lives: "discord", "telegram", whatever the operator calls it.
    platform = models.CharField(max_length=32)
    created_at = models.DateTimeField(db_default=db_now())
    #: Since when none of its keys works and none of its link tokens can be confirmed; its links stay.
    disabled_at = models.DateTimeField(null=True, blank=True, default=None)
    #: Until when what it asked for counts against its rate (``bot_rate.py``).
    spent_until = models.DateTimeField(db_default=db_now(), editable=False)

    objects = BotQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(name="bot_has_name_and_platform", condition=~Q(name="") & ~Q(platform="")),
        ]

    def __str__(self) -> str:
        return self.name


class BotKeyQuerySet(models.QuerySet["BotKey"]):
    """Composable selections of keys."""

    def live(self) -> Self:
        """Keys that work now: neither revoked, nor replaced so long ago that their time is over."""
        return self.filter(Q(revoked_at__isnull=True) | Q(revoked_at__gt=db_now()))


class BotKey(models.Model):
    """A key with which a bot calls the API as itself. Of the secret only a hash is stored."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    bot = models.ForeignKey(Bot, on_delete=models.CASCADE, related_name="keys")
    #: Nothing, or ``approve``.
    scopes = models.JSONField(default=list)
    #: The first characters of the secret, to tell keys apart by.
    prefix = models.CharField(max_length=12)
    #: SHA-256 in hex; 256 random bits cannot be guessed.
    digest = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField(db_default=db_now())
    last_used_at = models.DateTimeField(null=True, default=None)
    #: From when on it is worth nothing; ahead of now after a rotation that left it some time.
    revoked_at = models.DateTimeField(null=True, default=None)

    objects = BotKeyQuerySet.as_manager()

    class Meta:
        indexes = [models.Index(name="botkey_of_bot", fields=["bot", "-created_at"])]

    def __str__(self) -> str:
        return f"{self.prefix}… of {self.bot_id}"
