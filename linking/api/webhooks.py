"""``/bot/webhook``: where a bot is told of what happens."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from approvals.objects import moment
from common.apidocs import bot_errors, created, found, no_content
from common.bodies import Body, Flag, Text
from linking.bot_auth import BotView, bot_of
from linking.models import Webhook, WebhookDelivery
from linking.webhooks.registration import Registered, remove_webhook, set_webhook, webhook_of

_WEBHOOK = {
    "url": "https://bot.example.org/holdfast",
    "created_at": "2026-01-05T10:00:00Z",
    "waiting": 0,
    "dead": 0,
}
_WITH_SECRET = {**_WEBHOOK, "secret": "whsec_…"}


class WebhookBody(Body):
    """Where to tell, and whether with a new secret."""

    url = Text(allow_blank=False, help_text="`https` or `http`, at a public address, port 80 or 443.")
    rotate_secret = Flag(
        required=False, help_text="Sign with a new secret, and for 24 hours with the one before too."
    )


class WebhookOutput(serializers.Serializer[Any]):
    """The webhook of a bot."""

    url = serializers.CharField()
    created_at = serializers.DateTimeField()
    waiting = serializers.IntegerField(help_text="Deliveries that did not arrive yet.")
    dead = serializers.IntegerField(help_text="Deliveries that were given up.")
    previous_secret_until = serializers.DateTimeField(
        required=False, help_text="Until when is signed with the secret before too."
    )
    disabled_at = serializers.DateTimeField(required=False, help_text="Since when nothing is sent.")
    disabled_reason = serializers.CharField(required=False)


class SetWebhookOutput(WebhookOutput):
    """The webhook of a bot as it was set."""

    secret = serializers.CharField(
        required=False, help_text="For checking signatures, when it is new. It cannot be shown again."
    )


class WebhookView(BotView):
    """The bot's webhook."""

    @extend_schema(
        operation_id="get_bot_webhook",
        summary="See where you are told of what happens",
        responses=found(WebhookOutput, _WEBHOOK) | bot_errors("not_found"),
    )
    def get(self, request: Request) -> Response:
        """Answer with it."""
        return Response(webhook_object(webhook_of(bot_of(request))))

    @extend_schema(
        operation_id="set_bot_webhook",
        summary="Be told of what happens",
        description="Instead of asking: that turns of your threads ended, that decisions wait, were made, ran out "
        "or do not matter any more, and that links were made and removed. One address a bot; a new one replaces "
        "it, and switches it on again. How requests are signed is in `docs/webhooks.md`.",
        request=WebhookBody,
        responses=created(SetWebhookOutput, _WITH_SECRET)
        | found(SetWebhookOutput, _WEBHOOK)
        | bot_errors("invalid", "unknown_field", "text_too_long", unsafe=True),
        examples=[OpenApiExample("webhook", value={"url": _WEBHOOK["url"]}, request_only=True)],
    )
    def put(self, request: Request) -> Response:
        """Set it."""
        done = set_webhook(bot=bot_of(request), **self.body(request, WebhookBody))
        return Response(_set_object(done), status=201 if done.is_new else 200)

    @extend_schema(
        operation_id="delete_bot_webhook",
        summary="Not be told any more",
        responses=no_content() | bot_errors("not_found", unsafe=True),
    )
    def delete(self, request: Request) -> Response:
        """Remove it."""
        remove_webhook(bot=bot_of(request))
        return Response(status=204)


def webhook_object(webhook: Webhook) -> dict[str, Any]:
    """Return the public form of a webhook, never with its secret. Optional keys are absent, never null."""
    deliveries = WebhookDelivery.objects.filter(webhook=webhook)
    shown: dict[str, Any] = {
        "url": webhook.url,
        "created_at": moment(webhook.created_at),
        "waiting": deliveries.waiting().count(),
        "dead": deliveries.filter(state=WebhookDelivery.State.DEAD).count(),
    }
    if webhook.previous_until is not None:
        shown["previous_secret_until"] = moment(webhook.previous_until)
    if webhook.disabled_at is not None:
        shown |= {"disabled_at": moment(webhook.disabled_at), "disabled_reason": webhook.disabled_reason}
    return shown


def _set_object(done: Registered) -> dict[str, Any]:
    secret = {} if done.secret is None else {"secret": done.secret}
    return webhook_object(done.webhook) | secret
