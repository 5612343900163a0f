"""Webhooks in the admin: to be looked at and switched off, and what did not arrive to be delivered again."""

from __future__ import annotations

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from linking.admin_base import Looking
from linking.models import Webhook, WebhookDelivery
from linking.webhooks.deliver import deliver_again, disable
from linking.webhooks.outbox import hint


@admin.register(Webhook)
class WebhookAdmin(Looking):
    """Read-only; a webhook can be switched off. It is set by its bot, or by ``manage.py set_webhook``."""

    list_display = ["bot", "url", "created_at", "disabled_at", "disabled_reason"]
    list_select_related = ["bot"]
    list_filter = [("disabled_at", admin.EmptyFieldListFilter)]
    search_fields = ["bot__name", "url"]
    fields = ("bot", "url", "created_at", "previous_until", "disabled_at", "disabled_reason")
    actions = ["switch_off"]

    @admin.action(description="Switch the selected webhooks off", permissions=["switch"])
    def switch_off(self, request: HttpRequest, queryset: QuerySet[Webhook]) -> None:
        """Send nothing more, until it is set again."""
        done = sum(disable(webhook.pk, "Switched off by an operator.") for webhook in queryset)
        self.message_user(request, f"Switched off: {done}.", messages.SUCCESS)

    def has_switch_permission(self, request: HttpRequest) -> bool:
        """Allow it to those who may change webhooks."""
        return bool(request.user.has_perm("linking.change_webhook"))


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(Looking):
    """Read-only; what is over can be delivered again, with the id that it had."""

    list_display = ["event", "webhook", "state", "created_at", "attempts", "last_status", "last_error"]
    list_select_related = ["webhook__bot"]
    list_filter = ["state", "event", "webhook__bot"]
    fields = (
        "id",
        "webhook",
        "event",
        "body",
        "state",
        "created_at",
        "next_at",
        "attempts",
        "failures",
        "last_status",
        "last_error",
        "finished_at",
    )
    actions = ["again"]

    @admin.action(description="Deliver the selected ones again", permissions=["again"])
    def again(self, request: HttpRequest, queryset: QuerySet[WebhookDelivery]) -> None:
        """Send them once more; those that wait are left alone."""
        done = sum(deliver_again(delivery.pk) for delivery in queryset)
        hint()
        self.message_user(request, f"To be delivered again: {done}.", messages.SUCCESS)

    def has_again_permission(self, request: HttpRequest) -> bool:
        """Allow it to those who may change deliveries."""
        return bool(request.user.has_perm("linking.change_webhookdelivery"))
