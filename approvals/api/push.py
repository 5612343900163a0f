"""``/push``: the browsers in which the caller is told that a decision waits."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from approvals.models import PushSubscription
from approvals.reach import mail, push, webpush
from approvals.reach.subscriptions import ENDPOINT_LENGTH_MAX, subscribe, unsubscribe
from common.apidocs import created, errors, found, no_content
from common.bodies import Body, Text
from common.rest import ApiView, caller_of

_WAYS = {"public_key": "BOnhQ4v4kUe5…", "email": True}
_SUBSCRIPTION = {
    "id": "019a9d5e-5b0c-7c51-9f3a-2f6f0d1c7a11",
    "label": "Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0",
    "created_at": "2026-01-05T10:00:00Z",
}
_WISH = {
    "endpoint": "https://push.example.org/wpush/v2/…",
    "keys": {"p256dh": "BCVxsr7N_eNgVRqv…", "auth": "BTBZMqHH6r4Tts7J_aSIgg"},
}


class KeysBody(Body):
    """The browser's keys."""

    p256dh = Text(max_length=100, help_text="Its public key, in base64url.")
    auth = Text(max_length=40, help_text="Its secret, in base64url.")


class SubscriptionBody(Body):
    """A subscription, as the browser's `toJSON()` has it."""

    endpoint = Text(max_length=ENDPOINT_LENGTH_MAX, help_text="The push service's address of the browser.")
    keys = KeysBody()


class PushWays(serializers.Serializer[Any]):
    """How the caller can be told."""

    public_key = serializers.CharField(
        allow_null=True, help_text="For `applicationServerKey`; null: this server sends nothing to browsers."
    )
    email = serializers.BooleanField(help_text="Mail is sent to the caller.")


class Subscription(serializers.ModelSerializer[PushSubscription]):
    """A browser in which the caller is told."""

    class Meta:
        model = PushSubscription
        fields = ["id", "label", "created_at"]
        read_only_fields = fields


class PushView(ApiView):
    """How the caller can be told."""

    @extend_schema(
        operation_id="get_push",
        summary="How you are told that a decision waits",
        responses=found(PushWays, _WAYS) | errors(),
    )
    def get(self, request: Request) -> Response:
        """Answer with the key for browsers, and whether mail is sent."""
        mails = mail.is_on() and bool(caller_of(request).user.email)
        return Response({"public_key": webpush.public_key() if push.is_on() else None, "email": mails})


class SubscriptionsView(ApiView):
    """The caller's browsers."""

    @extend_schema(
        operation_id="create_push_subscription",
        summary="Be told in this browser",
        description="The same browser again is answered with 200 and its keys are renewed. A browser tells one "
        "person: it is taken from whoever used it before. At most 20 are kept, and the oldest goes.",
        request=SubscriptionBody,
        responses=created(Subscription, _SUBSCRIPTION)
        | found(Subscription, _SUBSCRIPTION)
        | errors("invalid", "unknown_field", "text_too_long", unsafe=True),
    )
    def post(self, request: Request) -> Response:
        """Store the subscription."""
        wish = self.body(request, SubscriptionBody)
        subscription, is_new = subscribe(
            user=caller_of(request).user,
            endpoint=wish["endpoint"],
            label=request.headers.get("user-agent", ""),
            **wish["keys"],
        )
        return Response(Subscription(subscription).data, status=201 if is_new else 200)


class SubscriptionView(ApiView):
    """One of the caller's browsers."""

    @extend_schema(
        operation_id="delete_push_subscription",
        summary="Not be told in this browser any more",
        responses=no_content() | errors("not_found", unsafe=True),
    )
    def delete(self, request: Request, subscription_id: str) -> Response:
        """Remove the subscription."""
        unsubscribe(user=caller_of(request).user, subscription_id=subscription_id)
        return Response(status=204)
