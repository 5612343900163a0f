"""Where a person can be told that something waits, and whether that is needed."""

from __future__ import annotations

from typing import Self

from django.conf import settings
from django.db import models

from common.db import db_now
from common.ids import new_id


class PushSubscriptionQuerySet(models.QuerySet["PushSubscription"]):
    """Composable selections of subscriptions."""

    def visible_to(self, user: object) -> Self:
        """Subscriptions of ``user``; anything else does not exist for them."""
        return self.filter(user=user)


class PushSubscription(models.Model):
    """A browser in which a person wants to be told; its push service names the address."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    #: Whoever knows it can reach the browser: it is shown to nobody.
    endpoint = models.TextField()
    #: SHA-256 of the endpoint: a browser is one row, whoever uses it.
    digest = models.CharField(max_length=64, unique=True)
    #: The browser's public key and shared secret, in base64url.
    p256dh = models.CharField(max_length=100)
    auth = models.CharField(max_length=40)
    #: What the browser calls itself.
    label = models.CharField(max_length=200, blank=True, default="")
    created_at = models.DateTimeField(db_default=db_now())
    #: In a row, since the last time that it worked.
    failures = models.PositiveSmallIntegerField(default=0)
    last_error = models.CharField(max_length=200, blank=True, default="")

    objects = PushSubscriptionQuerySet.as_manager()

    class Meta:
        indexes = [models.Index(name="push_of_user", fields=["user", "created_at"])]

    def __str__(self) -> str:
        return self.label or str(self.id)


class Presence(models.Model):
    """When a person was last seen with one of our pages in front of them, on the database's clock."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, primary_key=True, on_delete=models.CASCADE, related_name="+"
    )
    front_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.user_id} {self.front_at:%H:%M:%S}"
