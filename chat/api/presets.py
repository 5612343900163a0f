"""``/presets`` and ``/presets/{id}``."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from chat.api.serializers import PresetBody
from common.apidocs import created, errors, found, no_content
from common.rest import ApiView, caller_of
from copilot import components, objects
from copilot.examples import PRESET
from copilot.presets import create_preset, delete_preset, presets_of


class PresetsView(ApiView):
    """The presets that the caller can use."""

    @extend_schema(
        operation_id="list_presets",
        summary="List presets",
        description="The operator's, then your own. A session gets one by its `preset`.",
        responses=found(components.PresetPage, {"results": [PRESET], "next": None, "previous": None}) | errors(),
    )
    def get(self, request: Request) -> Response:
        """Answer with all of them."""
        presets = [objects.preset_object(preset) for preset in presets_of(caller_of(request).user)]
        return Response({"results": presets, "next": None, "previous": None})

    @extend_schema(
        operation_id="create_preset",
        summary="Create a preset",
        request=PresetBody,
        responses=created(components.Preset, PRESET)
        | errors("invalid", "unknown_field", "refused_text", "text_too_long", unsafe=True),
    )
    def post(self, request: Request) -> Response:
        """Create one of the caller's own."""
        preset = create_preset(user=caller_of(request).user, **self.body(request, PresetBody))
        return Response(objects.preset_object(preset), status=201)


class PresetView(ApiView):
    """One of the caller's presets."""

    @extend_schema(
        operation_id="delete_preset",
        summary="Delete a preset",
        description="One of your own. Sessions that have it do without it from their next turn on.",
        responses=no_content() | errors("not_found", unsafe=True),
    )
    def delete(self, request: Request, preset_id: str) -> Response:
        """Delete it for good."""
        delete_preset(user=caller_of(request).user, preset_id=preset_id)
        return Response(status=204)
