"""Editing a message, asking for another answer, and going between branches."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from chat.api.serializers import BranchBody, EditBody, RegenerateBody
from common.apidocs import accepted, errors, found
from common.rest import ApiView, caller_of, origin_of
from copilot import components, objects
from copilot.examples import AGAIN_ACCEPTED, BRANCH_SHOWN, EDIT_ACCEPTED
from copilot.turns.branches import edit_message, regenerate, show_branch


class EditView(ApiView):
    """Something else in the place of a message."""

    @extend_schema(
        operation_id="edit_message",
        summary="Edit a message",
        description="Says something else in the place of a message of the caller, and begins a turn that answers "
        "it. The message and all that came after it are kept as another branch, and are not shown any more; "
        "`branch` in the new message leads to it. The new message has the same files, and asks for the same "
        "model, effort, time zone and page. Messages that were answered together with it and were sent before it "
        "are answered again with it. Messages that are held stay held. While a turn is live this is refused "
        "(`session_busy`); for a message that still waits, or is not shown any more, too (`stale`).",
        request=EditBody,
        responses=accepted(components.Accepted, {"a turn began": EDIT_ACCEPTED}, again=True)
        | errors(
            "invalid",
            "unknown_field",
            "not_found",
            "session_busy",
            "stale",
            "client_id_reused",
            "text_too_long",
            "rate_limited",
            "usage_limit",
            unsafe=True,
        ),
    )
    def post(self, request: Request, message_id: str) -> Response:
        """Begin the turn."""
        caller = caller_of(request)
        result = edit_message(
            user=caller.user, message_id=message_id, origin=origin_of(caller), **self.body(request, EditBody)
        )
        return Response(objects.accepted_object(result, caller.user), status=200 if result.repeated else 202)


class RegenerateView(ApiView):
    """Another answer."""

    @extend_schema(
        operation_id="regenerate",
        summary="Answer again",
        description="Begins a turn that answers the last shown question again; `message` in the answer is that "
        "question. What was said after it is kept as another branch, and is not shown any more. It works as well "
        "when nothing was said. Messages that are held stay held. Where nothing was asked yet, this is refused "
        "as `stale`.",
        request=RegenerateBody,
        responses=accepted(components.Accepted, {"a turn began": AGAIN_ACCEPTED}, again=True)
        | errors(
            "invalid",
            "unknown_field",
            "unknown_model",
            "not_found",
            "session_busy",
            "stale",
            "client_id_reused",
            "text_too_long",
            "rate_limited",
            "usage_limit",
            unsafe=True,
        ),
    )
    def post(self, request: Request, session_id: str) -> Response:
        """Begin the turn."""
        caller = caller_of(request)
        result = regenerate(
            user=caller.user, session_id=session_id, origin=origin_of(caller), **self.body(request, RegenerateBody)
        )
        return Response(objects.accepted_object(result, caller.user), status=200 if result.repeated else 202)


class BranchView(ApiView):
    """Another branch."""

    @extend_schema(
        operation_id="show_branch",
        summary="Show another branch",
        description="Shows the branch that leads through `message` and from there on to its newest end, and "
        "answers as `GET sessions/{id}` does. What is shown already stays as it is.",
        request=BranchBody,
        responses=found(components.SessionDetail, BRANCH_SHOWN)
        | errors("invalid", "unknown_field", "not_found", "session_busy", "stale", "text_too_long", unsafe=True),
    )
    def post(self, request: Request, session_id: str) -> Response:
        """Show it."""
        wanted = self.body(request, BranchBody)["message"]
        user = caller_of(request).user
        session = show_branch(user=user, session_id=session_id, message_id=wanted)
        return Response(objects.session_detail(session, user))
