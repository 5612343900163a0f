"""Link tokens: a bot asks for one, a person confirms it, and a link is made of it. Once."""

from __future__ import annotations

from datetime import datetime
from typing import Self

from django.db import models
from django.db.models import Q

from common.db import db_now
from common.ids import new_id
from linking.models.bots import Bot
from linking.models.links import PLATFORM_ID_MAX, PLATFORM_NAME_MAX, LinkKind

#: Wrong codes after which a token is worth nothing.
WRONG_CODES_MAX = 5


class LinkTokenQuerySet(models.QuerySet["LinkToken"]):
    """Composable selections of tokens."""

    def open(self) -> Self:
        """Neither used nor replaced by a newer one; a target of a bot has one of these at most."""
        return self.filter(used_at__isnull=True, superseded_at__isnull=True)

    def pending(self, now: datetime) -> Self:
        """Those that can still be confirmed at ``now``."""
        return self.open().filter(expires_at__gt=now, wrong_codes__lt=WRONG_CODES_MAX)


class LinkToken(models.Model):
    """What a bot asked to have linked. Token and code are known to the bot and the person alone."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    bot = models.ForeignKey(Bot, on_delete=models.CASCADE, related_name="link_tokens")
    kind = models.CharField(max_length=10, choices=LinkKind.choices)
    platform_id = models.CharField(max_length=PLATFORM_ID_MAX)
    platform_name = models.CharField(max_length=PLATFORM_NAME_MAX, blank=True, default="")
    #: The identity that asked; empty when the bot does not tell.
    platform_user_id = models.CharField(max_length=PLATFORM_ID_MAX, blank=True, default="")
    platform_user_name = models.CharField(max_length=PLATFORM_NAME_MAX, blank=True, default="")
    #: SHA-256 of the token in hex.
    digest = models.CharField(max_length=64, unique=True)
    #: SHA-256 of token and code together: six digits alone could be found by trying them all.
    code_digest = models.CharField(max_length=64)
    wrong_codes = models.PositiveSmallIntegerField(default=0)
    created_at = models.DateTimeField(db_default=db_now())
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True, default=None)
    #: When a newer one for the same target took its place.
    superseded_at = models.DateTimeField(null=True, default=None)
    #: The link that was made of it, which may be gone again.
    link_id = models.UUIDField(null=True, default=None)

    objects = LinkTokenQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(name="linktoken_kind_is_known", condition=Q(kind__in=["server", "user"])),
            models.CheckConstraint(
                name="linktoken_wrong_codes_bounded", condition=Q(wrong_codes__lte=WRONG_CODES_MAX)
            ),
            models.CheckConstraint(
                name="linktoken_link_iff_used",
                condition=Q(used_at__isnull=True, link_id__isnull=True)
                | Q(used_at__isnull=False, link_id__isnull=False, superseded_at__isnull=True),
            ),
            models.UniqueConstraint(
                name="linktoken_one_open_a_target",
                fields=["bot", "kind", "platform_id"],
                condition=Q(used_at__isnull=True, superseded_at__isnull=True),
            ),
        ]
        # Dead ones are deleted by their age.
        indexes = [models.Index(name="linktoken_by_expiry", fields=["expires_at"])]

    def __str__(self) -> str:
        return f"{self.kind} token of {self.bot_id}"
