"""``/usage``."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from common.apidocs import errors, found
from common.rest import ApiView, caller_of
from copilot import components, objects
from copilot.examples import USAGE
from copilot.usage.limits import usage_of


class UsageView(ApiView):
    """How much of their limits the caller has used."""

    @extend_schema(
        operation_id="read_usage",
        summary="Read how much was used",
        description="Of the day and of the week, both in UTC; null where there is no limit. 100.0 says that the "
        "limit is reached: what would begin a turn is refused as `usage_limit` until `resets_at`.",
        responses=found(components.Usage, USAGE) | errors(),
    )
    def get(self, request: Request) -> Response:
        """Answer with shares of the limits, never with amounts."""
        return Response(objects.usage_object(usage_of(caller_of(request).user.pk)))
