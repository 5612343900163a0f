"""``/operator/usage``: what one person used, in exact figures, and what operators may grant them."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from common.apidocs import errors, found, parameter
from common.bodies import Body, Flag, Text
from common.errors import Forbidden, invalid
from common.query import words
from common.rest import caller_of
from copilot.models import User
from copilot.operators.allowances import change_tier, reset
from copilot.operators.api.base import OperatorView
from copilot.operators.objects import usage_row
from copilot.people import find_person
from copilot.usage.allowance import TIER_MAX
from copilot.usage.limits import usage_of

#: The longest address of mail that there can be.
_WHO_MAX = 254
_WHO = "An id, a name or an address of mail."

_DAY = {
    "starts_on": "2026-01-05",
    "resets_at": "2026-01-06T00:00:00Z",
    "limit_microdollars": 2_500_000,
    "used_microdollars": 500_000,
    "forgiven_microdollars": 0,
    "reserved_microdollars": 12_000,
    "unknown_records": 0,
}
_USAGE = {
    "user": "01981f5d-77b0-7a30-9c51-2e7d1f0b0a00",
    "username": "ada",
    "email": "ada@example.org",
    "tier": 1,
    "daily": _DAY,
    "weekly": {
        **_DAY,
        "resets_at": "2026-01-12T00:00:00Z",
        "limit_microdollars": 12_500_000,
        "used_microdollars": 3_000_000,
    },
}


class Whole(serializers.IntegerField):
    """An integer, and nothing that could be turned into one."""

    def to_internal_value(self, data: Any) -> int:
        """Return the number; words, fractions and yes or no are refused."""
        if isinstance(data, bool) or not isinstance(data, int):
            self.fail("invalid")
        return data


class ResetBody(Body):
    """``POST operator/usage/reset``."""

    user = Text(max_length=_WHO_MAX, help_text=_WHO)
    week = Flag(required=False, help_text="The week too; without it the week stays as it is.")


class TierBody(Body):
    """``POST operator/usage/tier``."""

    user = Text(max_length=_WHO_MAX, help_text=_WHO)
    tier = Whole(min_value=1, max_value=TIER_MAX, help_text="By what the limits are multiplied.")


class OperatorUsageWindow(serializers.Serializer[Any]):
    """A day or a week. What counts towards its limit is what was used without what was forgiven."""

    starts_on = serializers.DateField()
    resets_at = serializers.DateTimeField()
    limit_microdollars = serializers.IntegerField(help_text="With the tier in it; 0: none.")
    used_microdollars = serializers.IntegerField()
    forgiven_microdollars = serializers.IntegerField(help_text="What resets took off the limit.")
    reserved_microdollars = serializers.IntegerField(help_text="What live turns may still cost.")
    unknown_records = serializers.IntegerField(help_text="Whose cost is not known, or only in part.")


class OperatorUsage(serializers.Serializer[Any]):
    """What a person used, as operators see it."""

    user = serializers.UUIDField()
    username = serializers.CharField()
    email = serializers.CharField(required=False)
    tier = serializers.IntegerField()
    daily = OperatorUsageWindow()
    weekly = OperatorUsageWindow()


class UsageView(OperatorView):
    """One person's usage."""

    @extend_schema(
        operation_id="read_operator_usage",
        summary="Read a person's usage",
        description="Of the present day and week, both in UTC, in microdollars.",
        parameters=[parameter("user", str, _WHO)],
        responses=found(OperatorUsage, _USAGE) | errors("invalid", "not_found"),
    )
    def get(self, request: Request) -> Response:
        """Answer with the figures."""
        wanted = words(request.query_params, "user", most=_WHO_MAX)
        if not wanted:
            raise invalid({"user": "Name a person by id, name or address of mail."})
        user = find_person(wanted)
        return Response(usage_row(user, usage_of(user.pk)))


class ResetView(OperatorView):
    """A fresh day, or day and week."""

    @extend_schema(
        operation_id="reset_usage",
        summary="Begin a person's day or week anew",
        description="What was used no longer counts towards the limit; its records stay. For staff who may change "
        "users. Answers with the figures after it.",
        request=ResetBody,
        responses=found(OperatorUsage, _USAGE)
        | errors("invalid", "unknown_field", "not_found", "text_too_long", unsafe=True),
    )
    def post(self, request: Request) -> Response:
        """Do it, and answer with how things stand then."""
        operator, body = _who_may_change(request), self.body(request, ResetBody)
        user = find_person(body["user"])
        return Response(usage_row(user, reset(operator, user, week=body.get("week", False))))


class TierView(OperatorView):
    """Another tier."""

    @extend_schema(
        operation_id="set_tier",
        summary="Change a person's tier",
        description="It multiplies the operator's limits, from now on. For staff who may change users. Answers "
        "with the figures after it.",
        request=TierBody,
        responses=found(OperatorUsage, _USAGE)
        | errors("invalid", "unknown_field", "not_found", "text_too_long", unsafe=True),
    )
    def post(self, request: Request) -> Response:
        """Do it, and answer with how things stand then."""
        operator, body = _who_may_change(request), self.body(request, TierBody)
        user = find_person(body["user"])
        return Response(usage_row(user, change_tier(operator, user, body["tier"])))


def _who_may_change(request: Request) -> User:
    operator: User = caller_of(request).user
    if not operator.has_perm("copilot.change_user"):
        raise Forbidden("Only members of staff with the permission to change users may do this.", code="scope")
    return operator
