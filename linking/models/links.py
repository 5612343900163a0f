"""Which places and people of a platform are linked to which account.

Two tables, and never one in place of the other: who owns a linked server is nobody in private messages until they
link these too.
"""

from __future__ import annotations

from typing import Self

from django.conf import settings
from django.db import models
from django.db.models import Q

from common.db import db_now
from common.ids import new_id
from linking.models.bots import Bot

#: Characters of an id, and of a name, on a platform.
PLATFORM_ID_MAX = 255
PLATFORM_NAME_MAX = 200


class LinkKind(models.TextChoices):
    """What is linked."""

    #: A group, server or channel: everybody there may chat, the owner pays.
    SERVER = "server"
    #: One person's private messages.
    USER = "user"


class LinkQuerySet(models.QuerySet["Link"]):
    """Composable selections of links."""

    def visible_to(self, user: object) -> Self:
        """Links of ``user``; anything else does not exist for them."""
        return self.filter(owner=user)


class Link(models.Model):
    """What both kinds of links are made of."""

    kind: LinkKind

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    bot = models.ForeignKey(Bot, on_delete=models.CASCADE, related_name="%(class)ss")
    #: As the platform has it, of the server or of the person; in no log line.
    platform_id = models.CharField(max_length=PLATFORM_ID_MAX)
    platform_name = models.CharField(max_length=PLATFORM_NAME_MAX, blank=True, default="")
    #: The account that pays, and in whose name the agents work.
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="%(class)ss")
    #: The platform's id of the person who asked for the link: on the platform nobody else speaks for the owner.
    #: Empty: nobody does.
    asked_by = models.CharField(max_length=PLATFORM_ID_MAX, blank=True, default="")
    asked_by_name = models.CharField(max_length=PLATFORM_NAME_MAX, blank=True, default="")
    created_at = models.DateTimeField(db_default=db_now())
    #: When the owner put away the notice that it was made.
    seen_at = models.DateTimeField(null=True, default=None)

    objects = LinkQuerySet.as_manager()

    class Meta:
        abstract = True
        constraints = [
            models.UniqueConstraint(name="%(class)s_one_a_target", fields=["bot", "platform_id"]),
            models.CheckConstraint(name="%(class)s_has_target", condition=~Q(platform_id="")),
        ]
        indexes = [models.Index(name="%(class)s_of_owner", fields=["owner", "-created_at"])]

    def __str__(self) -> str:
        return self.platform_name or f"link {self.pk}"

    def speaks_for_owner(self, platform_user_id: str) -> bool:
        """Tell whether this identity on the platform is the owner's."""
        return self.asked_by != "" and self.asked_by == platform_user_id


class ServerLink(Link):
    """A server: everybody there may chat, as strangers whose usage the owner pays for."""

    kind = LinkKind.SERVER

    #: Whether turns that strangers write may use the owner's instructions and MCP servers.
    allows_personal = models.BooleanField(default=False, db_default=False)


class UserLink(Link):
    """The private messages of one person, who is the owner. ``asked_by`` is that person too."""

    kind = LinkKind.USER
