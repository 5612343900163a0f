"""``/models``."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from common.apidocs import errors, found
from common.rest import ApiView
from copilot import components, objects
from copilot.examples import MODEL
from copilot.providers import registry


class ModelsView(ApiView):
    """The models that can answer."""

    @extend_schema(
        operation_id="list_models",
        summary="List models",
        description="Prices in microdollars per million tokens; null when unknown.",
        responses=found(components.Model(many=True), [MODEL]) | errors(),
    )
    def get(self, request: Request) -> Response:
        """Answer with all of them, in the operator's order."""
        return Response([objects.model_object(info) for info in registry.offered_models()])
