"""Short words for the API document: responses with examples, and the error codes of an operation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from drf_spectacular.extensions import OpenApiSerializerExtension
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema_field
from rest_framework import serializers
from rest_framework.views import APIView

Responses = dict[Any, Any]


class Error(serializers.Serializer[Any]):
    """What every refusal looks like."""

    code = serializers.CharField(help_text="Stable; made for programs.")
    detail = serializers.CharField(help_text="A sentence that a person can act on.")
    fields_ = serializers.DictField(required=False, source="fields", help_text="What is wrong with which field.")

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """Return the fields under their real names: ``fields`` itself means something to serializers."""
        declared = super().get_fields()
        declared["fields"] = declared.pop("fields_")
        declared["fields"].source = None
        return declared


class BodyExtension(OpenApiSerializerExtension):  # type: ignore[no-untyped-call]
    """Says of the bodies of requests that unknown fields are refused."""

    target_class = "common.bodies.Body"
    match_subclasses = True

    def map_serializer(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        """Return the schema of the body."""
        schema: dict[str, Any] = auto_schema._map_serializer(self.target, direction, bypass_extensions=True)
        return {**schema, "additionalProperties": False}


@extend_schema_field(OpenApiTypes.BINARY)
class FileContent(serializers.FileField):
    """A file in a form; in answers, where this is not used, such a field would be an address."""


def tag_streams(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """Tag the operations that answer with server-sent events: a client that wants to be done can leave them out.

    A postprocessing hook of drf-spectacular.
    """
    for methods in result["paths"].values():
        for operation in methods.values():
            streams = any("text/event-stream" in one.get("content", {}) for one in operation["responses"].values())
            if streams and "streams" not in operation["tags"]:
                operation["tags"] = [*operation["tags"], "streams"]
    return result


#: Every code that an operation here answers with: its status, and what it says.
CODES: dict[str, tuple[int, str]] = {
    "invalid": (400, "The message is empty: write something first."),
    "unknown_field": (400, "titel: There is no such field here."),
    "unknown_model": (400, "There is no model 'demo/dem'."),
    "incomplete": (400, "Decide each of the 2 calls exactly once."),
    "not_allowed": (400, "shell cannot be decided by 'respond', only by: approve, edit, reject."),
    "refused_text": (400, "The reason has 2,001 characters; at most 2,000 are accepted."),
    "wrong_kind": (400, "This is to link a server, not a person: confirm it with the kind 'server'."),
    "not_authenticated": (401, "Log in, or send a valid key as 'Authorization: Bearer …'."),
    "csrf": (403, "CSRF check failed. Reload the page and try again."),
    "scope": (403, "This needs a key with the scope 'chat'."),
    "not_linked": (403, "This is not linked to an account yet: ask for a link token and have it confirmed."),
    "not_found": (404, "There is no such thing here, or it is not yours."),
    "queue_full": (409, "10 messages are waiting already. Withdraw one, or wait for the answer."),
    "client_id_reused": (409, "This client_id was used for another message. Use a new one for each message."),
    "already_delivered": (409, "This message was delivered already."),
    "already_decided": (409, "This was decided already, by ada (web)."),
    "expired": (409, "The time to decide this is over. Send the message again to be asked anew."),
    "session_busy": (409, "The agent is still working. Wait for it to end, or stop it first."),
    "stale": (409, "What was asked for is not possible any more."),
    "already_linked": (409, "This is linked to an account already. It can be unlinked by its owner."),
    "token_used": (410, "This link was used already. Ask the bot for a new one."),
    "text_too_long": (413, "The message has 64,001 characters; at most 64,000 are accepted."),
    "file_too_large": (413, "The file is larger than 20 MiB: send a smaller one, or a part."),
    "rate_limited": (429, "At most 30 messages a minute can be sent. Send this one again in 2 s."),
    "usage_limit": (
        429,
        "The usage limit for this day is reached. A new day begins on 2026-01-06 at 00:00 UTC.",
    ),
    "busy": (503, "The server is busy right now. Nothing was stored; try again."),
}


def parameter(name: str, kind: type, description: str, *, header: bool = False) -> OpenApiParameter:
    """Describe a query parameter, or a header."""
    return OpenApiParameter(name, kind, "header" if header else "query", description=description)


#: Of operations that wait, and of those that tell a turn's events.
WAIT = parameter("wait", float, "Seconds to wait, from 0 to 25.")
AFTER = parameter("after", int, "Only events with a larger `seq`.")
LAST_EVENT_ID = parameter("Last-Event-ID", int, "The `seq` of the last event seen.", header=True)


def _answer(component: Any, examples: Mapping[str, Any], description: str) -> OpenApiResponse:
    shown = [OpenApiExample(name, value=value, response_only=True) for name, value in examples.items()]
    return OpenApiResponse(component, description=description, examples=shown)


def found(component: Any, example: Any) -> Responses:
    """200 with what was asked for."""
    return {200: _answer(component, {"example": example}, "")}


def event_stream(example: str) -> Responses:
    """200 with server-sent events."""
    shown = OpenApiExample("example", value=example, media_type="text/event-stream")
    return {(200, "text/event-stream"): OpenApiResponse(OpenApiTypes.STR, examples=[shown])}


def created(component: Any, example: Any) -> Responses:
    """201 with what was made."""
    return {201: _answer(component, {"example": example}, "")}


def accepted(component: Any, examples: Mapping[str, Any], *, again: bool = False) -> Responses:
    """202 with what became of it; ``again``: 200 when it was accepted before."""
    responses: Responses = {202: _answer(component, examples, "Accepted and stored.")}
    if again:
        responses[200] = _answer(component, examples, "Accepted before; this is its present state.")
    return responses


def no_content() -> Responses:
    """204."""
    return {204: OpenApiResponse(description="Done.")}


def errors(*codes: str, unsafe: bool = False) -> Responses:
    """The errors of an operation, beside those that every one has; ``unsafe``: it changes something."""
    return _refused("not_authenticated", "scope", "busy", *(["csrf"] if unsafe else []), *codes)


def bot_errors(*codes: str, unsafe: bool = False) -> Responses:
    """The errors of an operation for bots, beside those that every one has."""
    return _refused("not_authenticated", "busy", *(["rate_limited"] if unsafe else []), *codes)


def _refused(*every: str) -> Responses:
    responses: Responses = {}
    for status in sorted({CODES[code][0] for code in every}):
        named = [code for code in CODES if code in every and CODES[code][0] == status]
        examples = {code: {"code": code, "detail": CODES[code][1]} for code in named}
        responses[status] = _answer(Error, examples, ", ".join(f"`{code}`" for code in named))
    return responses


# --- what the generator cannot see --------------------------------------------------------------

Endpoints = list[tuple[str, str, str, Any]]
_PREFIX = "/api/v1/"


def endpoints_of(twins: Iterable[tuple[str, str, type[APIView]]]) -> Endpoints:
    """Return documented twins of plain async views, as path, method and view, the way the generator lists them."""
    return [(_PREFIX + path, _route(path), method, view.as_view()) for path, method, view in twins]


def _route(path: str) -> str:
    """Return the path as a URL pattern would have it, which is where the types of ids are read from."""
    return _PREFIX + path.replace("{", "<str:").replace("}", ">")
