"""Where bots are told of what happens, and what they are still to be told."""

from __future__ import annotations

from typing import Self

from django.db import models
from django.db.models import Q

from common.db import db_now
from common.ids import new_id
from linking.models.bots import Bot

#: Characters of an address.
URL_MAX = 2000


class WebhookQuerySet(models.QuerySet["Webhook"]):
    """Composable selections of webhooks."""

    def live(self) -> Self:
        """Webhooks that are told what happens: neither they nor their bots are switched off."""
        return self.filter(disabled_at__isnull=True, bot__disabled_at__isnull=True)


class Webhook(models.Model):
    """The one address of a bot. It is signed for with a secret that both sides know, so it is kept sealed."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    bot = models.OneToOneField(Bot, on_delete=models.CASCADE, related_name="webhook")
    url = models.CharField(max_length=URL_MAX)
    sealed_secret = models.TextField(editable=False)
    #: The secret before, with which is signed too until its time is over; empty: there is none.
    sealed_previous = models.TextField(editable=False, blank=True, default="")
    previous_until = models.DateTimeField(null=True, editable=False, default=None)
    created_at = models.DateTimeField(db_default=db_now())
    #: Since when nothing is sent, and why: what the address answered, or who switched it off.
    disabled_at = models.DateTimeField(null=True, editable=False, default=None)
    disabled_reason = models.CharField(max_length=100, editable=False, blank=True, default="")

    objects = WebhookQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(name="webhook_has_url", condition=~Q(url="")),
            models.CheckConstraint(
                name="webhook_previous_secret_ends",
                condition=Q(sealed_previous="", previous_until__isnull=True)
                | (~Q(sealed_previous="") & Q(previous_until__isnull=False)),
            ),
            models.CheckConstraint(
                name="webhook_is_off_for_a_reason",
                condition=Q(disabled_reason="", disabled_at__isnull=True)
                | (~Q(disabled_reason="") & Q(disabled_at__isnull=False)),
            ),
        ]

    def __str__(self) -> str:
        return f"webhook of {self.bot}"


class DeliveryQuerySet(models.QuerySet["WebhookDelivery"]):
    """Composable selections of deliveries."""

    def waiting(self) -> Self:
        """Deliveries that are still to be made."""
        return self.filter(state=WebhookDelivery.State.WAITING)

    def in_flight(self) -> Self:
        """Deliveries that some process is making now."""
        return self.waiting().filter(leased_until__gt=db_now())

    def due(self) -> Self:
        """Deliveries to be made now, by whoever claims them first."""
        free = Q(leased_until__isnull=True) | Q(leased_until__lte=db_now())
        live = Q(webhook__disabled_at__isnull=True, webhook__bot__disabled_at__isnull=True)
        return self.waiting().filter(free, live, next_at__lte=db_now())


class WebhookDelivery(models.Model):
    """Something that a bot is told: written in the transaction of what it tells, sent until it arrived.

    Its id is the same on each try, so that a receiver knows what it had before.
    """

    class State(models.TextChoices):
        """What has become of it."""

        WAITING = "waiting"
        DELIVERED = "delivered"
        #: Nobody tries any more, unless an operator says so.
        DEAD = "dead"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    webhook = models.ForeignKey(Webhook, on_delete=models.CASCADE, related_name="deliveries")
    event = models.CharField(max_length=40)
    #: The very bytes that are sent, as text: what is signed must not be written anew.
    body = models.TextField()
    state = models.CharField(max_length=10, choices=State.choices, default=State.WAITING)
    created_at = models.DateTimeField(db_default=db_now())
    next_at = models.DateTimeField(db_default=db_now())
    #: How often it was claimed. Who claimed it writes only while it is still theirs.
    attempts = models.PositiveIntegerField(default=0)
    #: Until when the process that claimed it has time to send it.
    leased_until = models.DateTimeField(null=True, default=None)
    #: Since it was set going, by its event or by an operator.
    failures = models.PositiveSmallIntegerField(default=0)
    last_status = models.PositiveSmallIntegerField(null=True, default=None)
    last_error = models.CharField(max_length=200, blank=True, default="")
    finished_at = models.DateTimeField(null=True, default=None)

    objects = DeliveryQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "webhook deliveries"
        constraints = [
            models.CheckConstraint(
                name="delivery_state_is_known", condition=Q(state__in=["waiting", "delivered", "dead"])
            ),
            models.CheckConstraint(
                name="delivery_is_over_or_waits",
                condition=Q(state="waiting", finished_at__isnull=True)
                | (~Q(state="waiting") & Q(finished_at__isnull=False, leased_until__isnull=True)),
            ),
        ]
        indexes = [
            # What is due; the sweep asks each second.
            models.Index(name="delivery_due", fields=["next_at"], condition=Q(state="waiting")),
            # How many of a webhook are on their way.
            models.Index(name="delivery_of_webhook", fields=["webhook", "state"]),
            # What can be forgotten.
            models.Index(name="delivery_over", fields=["finished_at"], condition=~Q(state="waiting")),
        ]

    def __str__(self) -> str:
        return f"{self.event} {self.pk}"
