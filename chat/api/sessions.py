"""``/sessions`` and ``/sessions/{id}``."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from chat.api import parsing
from chat.api.serializers import ChangeSessionBody, NewSessionBody
from common.apidocs import created, errors, found, no_content, parameter
from common.paging import page_of
from common.rest import ApiView, caller_of
from copilot import components, objects, selectors
from copilot.examples import SESSION, SESSION_DETAIL
from copilot.models import Session, User
from copilot.turns.sessions import create_session, delete_session, update_session


class SessionsView(ApiView):
    """The caller's sessions."""

    @extend_schema(
        operation_id="list_sessions",
        summary="List sessions",
        description="The caller's sessions, newest activity first. Follow `next` to go on.",
        parameters=[
            parameter("search", str, "Only sessions whose title contains this."),
            parameter("archived", bool, "The archived ones instead of the others."),
            parameter("cursor", str, "From `next` or `previous`."),
            parameter("limit", int, "Sessions a page, from 1 to 100. Default 50."),
        ],
        responses=found(components.SessionPage, {"results": [SESSION], "next": None, "previous": None})
        | errors("invalid"),
    )
    def get(self, request: Request) -> Response:
        """Answer with a page of sessions."""
        query = request.query_params
        user = caller_of(request).user
        sessions = selectors.sessions_of(
            user,
            search=parsing.words(query, "search"),
            archived=parsing.flag(query, "archived"),
        )
        rows, following, earlier = page_of(request, sessions.with_live(), by="updated_at")
        return Response({"results": objects.session_objects(rows, user), "next": following, "previous": earlier})

    @extend_schema(
        operation_id="create_session",
        summary="Create a session",
        request=NewSessionBody,
        responses=created(components.Session, SESSION)
        | errors("invalid", "unknown_field", "unknown_model", "refused_text", "text_too_long", unsafe=True),
    )
    def post(self, request: Request) -> Response:
        """Create a session, or answer with the one that the same ``client_id`` created."""
        user = caller_of(request).user
        session = create_session(user=user, **self.body(request, NewSessionBody))
        return Response(_shown(session, user), status=201)


class SessionView(ApiView):
    """One session."""

    @extend_schema(
        operation_id="read_session",
        summary="Read a session",
        description="The session with its newest messages, its live turn and the messages that wait.",
        responses=found(components.SessionDetail, SESSION_DETAIL) | errors("not_found"),
    )
    def get(self, request: Request, session_id: str) -> Response:
        """Answer with everything that an open page shows."""
        user = caller_of(request).user
        return Response(objects.session_detail(selectors.session_of(user, session_id), user))

    @extend_schema(
        operation_id="change_session",
        summary="Change a session",
        request=ChangeSessionBody,
        responses=found(components.Session, SESSION)
        | errors(
            "invalid", "unknown_field", "unknown_model", "refused_text", "not_found", "text_too_long", unsafe=True
        ),
    )
    def patch(self, request: Request, session_id: str) -> Response:
        """Change what the body names."""
        changes = self.body(request, ChangeSessionBody, partial=True)
        user = caller_of(request).user
        return Response(_shown(update_session(user=user, session_id=session_id, **changes), user))

    @extend_schema(
        operation_id="delete_session",
        summary="Delete a session",
        description="With its messages, turns and events. A turn that runs ends too.",
        responses=no_content() | errors("not_found", unsafe=True),
    )
    def delete(self, request: Request, session_id: str) -> Response:
        """Delete it for good."""
        delete_session(user=caller_of(request).user, session_id=session_id)
        return Response(status=204)


def _shown(session: Session, user: User) -> objects.Object:
    return objects.session_object(session, live=selectors.live_status(session), viewer=user)
