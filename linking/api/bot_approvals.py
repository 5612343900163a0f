"""``/bot/approvals`` and ``/bot/approvals/{id}/decide``: for bots."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from approvals.api.actions import DECIDED, EXAMPLE, PENDING_MAX, Approval, ApprovalPage
from approvals.api.bodies import wish_of
from approvals.models import Action
from common.apidocs import bot_errors, found, parameter
from common.errors import invalid
from common.paging import page_of
from linking.api.turn_bodies import BotDecideBody
from linking.bot_approvals import actions_of, decide_for_owner
from linking.bot_auth import BotView, bot_of
from linking.bot_objects import bot_action_objects

_IN_SERVER = ["once", "session"]
_CALL = DECIDED["decisions"][0]["tool_call_id"]
_EXAMPLE = {**EXAMPLE, "scopes": _IN_SERVER}
_DECIDED = {**DECIDED, "scopes": _IN_SERVER, "surface": "discord"}


class BotActionsView(BotView):
    """What people are asked in the bot's threads."""

    @extend_schema(
        operation_id="list_bot_approvals",
        summary="List what people are asked in your threads",
        description=f"With `status=pending` those that wait, on one page, the soonest end first, {PENDING_MAX} at "
        "most; else newest first, in pages. What child sessions of a thread ask is among them.",
        parameters=[
            parameter("status", str, "`pending`, `decided`, `expired` or `cancelled`."),
            parameter("cursor", str, "From `next` or `previous`."),
            parameter("limit", int, "Approvals a page, from 1 to 100. Default 50."),
        ],
        responses=found(ApprovalPage, {"results": [_EXAMPLE], "next": None, "previous": None})
        | bot_errors("invalid"),
    )
    def get(self, request: Request) -> Response:
        """Answer with them."""
        status = request.query_params.get("status", "")
        if status and status not in Action.Status.values:
            raise invalid({"status": f"must be one of {', '.join(Action.Status.values)}."})
        actions = actions_of(bot_of(request), status=status)
        if status == Action.Status.PENDING:
            rows, following, earlier = list(actions[:PENDING_MAX]), None, None
        else:
            rows, following, earlier = page_of(request, actions, by="created_at")
        return Response({"results": bot_action_objects(rows), "next": following, "previous": earlier})


class BotDecideView(BotView):
    """The decision of a link's owner."""

    scope = "approve"

    @extend_schema(
        operation_id="decide_bot_approval",
        summary="Pass on a decision of the owner",
        description="Needs a key with the scope `approve`. Only the identity that the link's owner linked decides "
        "(a server's link remembers who asked for it); for any other the approval does not exist. It is recorded "
        "as the owner's, made on the bot's platform. `always` is for private messages alone.",
        request=BotDecideBody,
        responses=found(Approval, _DECIDED)
        | bot_errors(
            "invalid",
            "unknown_field",
            "incomplete",
            "not_allowed",
            "refused_text",
            "scope",
            "not_found",
            "already_decided",
            "expired",
            "stale",
            "text_too_long",
            unsafe=True,
        ),
        examples=[
            OpenApiExample(
                "approve",
                value={
                    "platform_user_id": "80351110224678912",
                    "decisions": [{"tool_call_id": _CALL, "type": "approve"}],
                },
                request_only=True,
            )
        ],
    )
    def post(self, request: Request, action_id: str) -> Response:
        """Decide it."""
        wish = self.body(request, BotDecideBody)
        identity = wish.pop("platform_user_id")
        action = decide_for_owner(
            bot=bot_of(request), action_id=action_id, platform_user_id=identity, wish=wish_of(wish)
        )
        return Response(bot_action_objects([action])[0])
