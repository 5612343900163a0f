"""REST: the caller's keys, and the caller."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from common.apidocs import Error
from common.auth import SCOPES, Caller, HasScope, caller_of
from common.bodies import Body, Text, read_body
from copilot.models import User
from copilot.people import INSTRUCTIONS_MAX, change_person
from linking.keys import issue_key_as, revoke_key
from linking.models import PersonalKey

_KEY = {
    "id": "019a9d5e-5b0c-7c51-9f3a-2f6f0d1c7a11",
    "label": "nightly report",
    "scopes": ["chat"],
    "prefix": "hf_Zk3Qa",
    "created_at": "2026-01-05T10:00:00Z",
    "last_used_at": None,
}
_KEYS = {"results": [_KEY], "next": None, "previous": None}
_ME = {
    "id": "019a9d5e-5b0c-7c51-9f3a-2f6f0d1c7a00",
    "username": "ada",
    "scopes": ["chat", "approve"],
    "staff": False,
    "timezone": "Europe/Paris",
    "instructions": "Answer in French.",
    "tier": 1,
}


def _refusals(**codes: str) -> dict[int, OpenApiResponse]:
    """Return the documented errors of a call: ``_refusals(e400="invalid")``, codes separated by spaces."""
    known = {"e401": "not_authenticated", "e403": "csrf scope", "e503": "busy", **codes}
    return {int(name[1:]): OpenApiResponse(Error, description=text) for name, text in known.items()}


class KeyInput(Body):
    """What a new key may be given."""

    nullable = frozenset({"scopes"})  # null could be meant as all or as none: it is refused

    label = serializers.CharField(  # type: ignore[assignment] # a field of ours, not the base class's attribute
        required=False, allow_blank=True, max_length=100, default=""
    )
    scopes = serializers.ListField(child=serializers.CharField(), required=False)


class KeyOutput(serializers.ModelSerializer[PersonalKey]):
    """A key without its secret."""

    scopes = serializers.ListField(child=serializers.ChoiceField(SCOPES))

    class Meta:
        model = PersonalKey
        fields = ["id", "label", "scopes", "prefix", "created_at", "last_used_at"]
        read_only_fields = fields


class IssuedKeyOutput(KeyOutput):
    """A key with its secret, which is shown this once."""

    key = serializers.CharField(help_text="The secret. It cannot be shown again.")

    class Meta(KeyOutput.Meta):
        fields = [*KeyOutput.Meta.fields, "key"]
        read_only_fields = fields


class KeyPage(serializers.Serializer[Any]):
    """All live keys of the caller, newest first."""

    results = KeyOutput(many=True)
    next = serializers.CharField(allow_null=True)
    previous = serializers.CharField(allow_null=True)


class KeyListView(APIView):
    """The caller's keys."""

    permission_classes = [HasScope]

    @extend_schema(
        operation_id="list_keys",
        summary="List your keys",
        responses={200: KeyPage, **_refusals()},
        examples=[
            OpenApiExample("keys", value=_KEYS, response_only=True, status_codes=["200"]),
        ],
    )
    def get(self, request: Request) -> Response:
        """List the live keys."""
        keys = PersonalKey.objects.visible_to(request.user).live().order_by("-created_at")
        return Response({"results": KeyOutput(keys, many=True).data, "next": None, "previous": None})

    @extend_schema(
        operation_id="create_key",
        summary="Create a key",
        description="The secret is in this answer and nowhere else. A key cannot make one that may do more.",
        request=KeyInput,
        responses={201: IssuedKeyOutput, **_refusals(e400="invalid unknown_field", e413="text_too_long")},
        examples=[
            OpenApiExample("wish", value={"label": "nightly report", "scopes": ["chat"]}, request_only=True),
            OpenApiExample("issued", value={**_KEY, "key": "hf_…"}, response_only=True, status_codes=["201"]),
        ],
    )
    def post(self, request: Request) -> Response:
        """Create a key."""
        wish = read_body(KeyInput, request._request)
        key, secret = issue_key_as(caller=caller_of(request), label=wish["label"], scopes=wish.get("scopes"))
        return Response({**KeyOutput(key).data, "key": secret}, status=201)


class KeyView(APIView):
    """One of the caller's keys."""

    permission_classes = [HasScope]

    @extend_schema(
        operation_id="revoke_key",
        summary="Revoke a key",
        description="It stops working at once; sockets opened with it close within 5 seconds.",
        responses={204: None, **_refusals(e404="not_found")},
    )
    def delete(self, request: Request, key_id: UUID) -> Response:
        """Revoke the key."""
        revoke_key(user=caller_of(request).user, key_id=key_id)
        return Response(status=204)


class MeInput(Body):
    """What callers may change about themselves."""

    nullable = frozenset({"timezone", "instructions"})  # refused: "" is what unsets them

    timezone = Text(required=False, max_length=64, help_text="Of messages that name none; empty: not set.")
    instructions = Text(
        required=False, max_length=INSTRUCTIONS_MAX, help_text="For the agent, in all your sessions; empty: none."
    )


class MeOutput(serializers.Serializer[Any]):
    """The caller."""

    id = serializers.UUIDField()
    username = serializers.CharField()
    scopes = serializers.ListField(
        child=serializers.ChoiceField(SCOPES), allow_null=True, help_text="Null for a logged-in session."
    )
    staff = serializers.BooleanField()
    timezone = serializers.CharField(allow_blank=True)
    instructions = serializers.CharField(allow_blank=True)
    tier = serializers.IntegerField()


class MeView(APIView):
    """The caller."""

    permission_classes = [HasScope]

    @property
    def scope(self) -> str:
        """Any key may ask whose it is; to change something it must be allowed to act."""
        return "" if self.request.method == "GET" else "chat"

    @extend_schema(
        operation_id="get_me",
        summary="Who you are",
        responses={200: MeOutput, **_refusals()},
        examples=[OpenApiExample("me", value=_ME, response_only=True, status_codes=["200"])],
    )
    def get(self, request: Request) -> Response:
        """Return the caller."""
        return Response(me_object(caller_of(request)))

    @extend_schema(
        operation_id="patch_me",
        summary="Change your time zone and your instructions",
        description="Both count for what is accepted from then on. The instructions are told to the agent in all "
        "your sessions, before those of the session; not in turns that other people write.",
        request=MeInput,
        responses={200: MeOutput, **_refusals(e400="invalid unknown_field refused_text", e413="text_too_long")},
        examples=[
            OpenApiExample("wish", value={"timezone": "Europe/Paris"}, request_only=True),
            OpenApiExample("me", value=_ME, response_only=True, status_codes=["200"]),
        ],
    )
    def patch(self, request: Request) -> Response:
        """Change what was sent and return the caller."""
        caller = caller_of(request)
        wish = read_body(MeInput, request._request, partial=True)
        change_person(caller.user, instructions=wish.get("instructions"), time_zone=wish.get("timezone"))
        return Response(me_object(caller))


def me_object(caller: Caller) -> dict[str, Any]:
    """Return the public form of the caller."""
    user: User = caller.user
    return {
        "id": str(user.pk),
        "username": user.get_username(),
        "scopes": None if caller.scopes is None else [name for name in SCOPES if name in caller.scopes],
        "staff": user.is_staff,
        "timezone": user.time_zone,
        "instructions": user.instructions,
        "tier": user.tier,
    }
