"""Messages: reading the transcript, sending, and those that wait."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from chat.api.parsing import LIMIT_MAX, number
from chat.api.serializers import SendBody
from common.apidocs import accepted, errors, found, no_content, parameter
from common.paging import link
from common.rest import ApiView, caller_of, origin_of
from copilot import components, objects, selectors
from copilot.examples import ACCEPTED, MESSAGE, QUEUED
from copilot.turns.submit import deliver_queued, submit_message, withdraw_queued


class SessionMessagesView(ApiView):
    """The transcript of a session."""

    @extend_schema(
        operation_id="list_messages",
        summary="List messages",
        description="A page of the transcript, oldest first; without bounds the newest page. `next` leads to "
        "newer messages, `previous` to older ones. An answer that is being written is not listed: follow its "
        "turn.",
        parameters=[
            parameter("before", int, "Only messages with a smaller `seq`; the nearest ones."),
            parameter("after", int, "Only messages with a larger `seq`; the nearest ones."),
            parameter("limit", int, "Messages a page, from 1 to 100. Default 50."),
        ],
        responses=found(components.MessagePage, {"results": [MESSAGE], "next": None, "previous": None})
        | errors("invalid", "not_found"),
    )
    def get(self, request: Request, session_id: str) -> Response:
        """Answer with a page of messages."""
        query = request.query_params
        before, after = number(query, "before"), number(query, "after")
        limit = number(query, "limit", default=selectors.PAGE, least=1, most=LIMIT_MAX) or selectors.PAGE
        session = selectors.session_of(caller_of(request).user, session_id)
        page = selectors.messages_page(session, before=before, after=after, limit=limit)
        # An empty page lies between its bounds: they lead out of it again.
        first = page.messages[0].seq if page.messages else (after or 0) + 1
        last = page.messages[-1].seq if page.messages else max(0, (before or 0) - 1)
        return Response(
            {
                "results": objects.message_objects(page.messages, page.branches),
                "next": link(request, before=None, after=last) if page.has_newer else None,
                "previous": link(request, after=None, before=first) if page.has_older else None,
            }
        )

    @extend_schema(
        operation_id="send_message",
        summary="Send a message",
        description="An idle session answers with a turn; a busy one queues the message. The same `client_id` "
        "with the same body is answered with 200 and the message's present state.",
        request=SendBody,
        responses=accepted(components.Accepted, {"a turn began": ACCEPTED, "it waits": QUEUED}, again=True)
        | errors(
            "invalid",
            "unknown_field",
            "unknown_model",
            "not_found",
            "queue_full",
            "client_id_reused",
            "text_too_long",
            "rate_limited",
            "usage_limit",
            unsafe=True,
        ),
    )
    def post(self, request: Request, session_id: str) -> Response:
        """Accept a message."""
        caller = caller_of(request)
        result = submit_message(
            user=caller.user, session_id=session_id, origin=origin_of(caller), **self.body(request, SendBody)
        )
        return Response(objects.accepted_object(result, caller.user), status=200 if result.repeated else 202)


class MessageView(ApiView):
    """One message."""

    @extend_schema(
        operation_id="read_message",
        summary="Read a message",
        responses=found(components.Message, MESSAGE) | errors("not_found"),
    )
    def get(self, request: Request, message_id: str) -> Response:
        """Answer with the message."""
        message = selectors.message_of(caller_of(request).user, message_id)
        return Response(objects.message_object(message))


class QueuedView(ApiView):
    """The messages that wait in a session."""

    @extend_schema(
        operation_id="list_queued",
        summary="List waiting messages",
        description="In the order in which they will be delivered.",
        responses=found(components.Message(many=True), [QUEUED["message"]]) | errors("not_found"),
    )
    def get(self, request: Request, session_id: str) -> Response:
        """Answer with all of them."""
        session = selectors.session_of(caller_of(request).user, session_id)
        return Response(objects.queued_objects(selectors.queued_of(session)))


class QueuedMessageView(ApiView):
    """One message that waits."""

    @extend_schema(
        operation_id="withdraw_queued",
        summary="Withdraw a waiting message",
        responses=no_content() | errors("not_found", "already_delivered", unsafe=True),
    )
    def delete(self, request: Request, session_id: str, message_id: str) -> Response:
        """Take it back, as if it had never been sent."""
        withdraw_queued(user=caller_of(request).user, session_id=session_id, message_id=message_id)
        return Response(status=204)


class DeliverQueuedView(ApiView):
    """ "Send now"."""

    @extend_schema(
        operation_id="deliver_queued",
        summary="Deliver waiting messages now",
        description="Starts a turn that takes what was held when the turn before it did not complete.",
        request=None,
        responses=accepted(components.Accepted, {"a turn began": ACCEPTED})
        | errors("not_found", "session_busy", "stale", "usage_limit", unsafe=True),
    )
    def post(self, request: Request, session_id: str) -> Response:
        """Start the turn."""
        caller = caller_of(request)
        result = deliver_queued(user=caller.user, session_id=session_id, origin=origin_of(caller))
        return Response(objects.accepted_object(result, caller.user), status=202)
