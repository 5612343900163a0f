"""``/operator/turns/stop``, ``/operator/turns/requeue`` and ``/operator/turns/cleanup``."""

from __future__ import annotations

import uuid
from typing import Any

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from common.apidocs import errors, found
from common.bodies import Body, Text
from common.errors import Busy, Forbidden, Invalid, NotFound, invalid
from common.ids import as_uuid
from common.rest import caller_of
from copilot.diagnostics.categories import CATEGORIES, rows_of
from copilot.models import Turn
from copilot.operators.actions import ACTIONS, fitting
from copilot.operators.api.base import OperatorView
from copilot.operators.permission import OPERATE_TURNS, may_operate

#: Turns that one request may name.
IDS_MAX = 1000


class TurnsBody(Body):
    """Which turns: some by their ids, or a category as a whole."""

    ids = serializers.ListField(
        child=Text(),
        required=False,
        allow_empty=False,
        max_length=IDS_MAX,
        error_messages={
            "empty": "Name at least one turn.",
            "max_length": f"At most {IDS_MAX:,} turns at a time: send several requests, or a category as `all`.",
        },
        help_text=f"Ids of turns, at most {IDS_MAX:,}.",
    )
    all = Text(required=False, help_text="A category; all of its turns, however many, as they are right now.")


class ActedOn(serializers.Serializer[Any]):
    """What came of it."""

    affected = serializers.IntegerField(help_text="Turns that it was done to.")
    requested = serializers.IntegerField(help_text="Turns that it was wanted for.")


_DONE = found(ActedOn, {"affected": 2, "requested": 3})
_REFUSED = ("invalid", "unknown_field", "not_allowed")
_WISHES = [
    OpenApiExample("category", value={"all": "stuck_queued"}, request_only=True),
    OpenApiExample("turns", value={"ids": ["01981f5e-9b51-7d22-8a73-4b9e3f1d2c22"]}, request_only=True),
]


class ActView(OperatorView):
    """An act on turns; a member of staff needs a permission for it."""

    def act(self, request: Request, name: str) -> Response:
        """Do it and answer with the two numbers; a turn that does not fit is not counted.

        Raises:
            Forbidden: without the permission to operate turns.
            Invalid: ``invalid``, ``unknown_field``; ``not_allowed``: never done to this category.
            NotFound: the only turn that was named is not there, or not queued where it is to be requeued.
            Busy: it is there, and somebody was at work on it all the time.
        """
        operator = caller_of(request).user
        if not may_operate(operator):
            raise Forbidden(f"This needs the permission {OPERATE_TURNS}. A superuser gives it, in the admin.")
        chosen = self.body(request, TurnsBody)
        if ("ids" in chosen) == ("all" in chosen):
            raise Invalid("Name turns as 'ids', or a category as 'all': one of the two, and not both.")
        if "all" in chosen:
            category = _category(name, chosen["all"])
            ids = list(rows_of(category).order_by("pk").values_list("pk", flat=True))
            outcome = ACTIONS[name](ids, operator=operator, category=category)
        else:
            ids = _ids(chosen["ids"])
            outcome = ACTIONS[name](ids, operator=operator)
            if len(ids) == 1 and not outcome.affected:
                _check_fits(name, ids[0])
        return Response({"affected": outcome.affected, "requested": outcome.requested})


class StopView(ActView):
    """Stops turns."""

    @extend_schema(
        operation_id="stop_turns",
        summary="Stop turns",
        description="Of anybody, with all that they started. Turns that wait end at once; nobody waits for those "
        "that run: they end within seconds. `affected` counts those that had not ended.",
        request=TurnsBody,
        examples=_WISHES,
        responses=_DONE | errors(*_REFUSED, "not_found", unsafe=True),
    )
    def post(self, request: Request) -> Response:
        """Ask them to stop."""
        return self.act(request, "stop")


class RequeueView(ActView):
    """Has queued turns taken up."""

    @extend_schema(
        operation_id="requeue_turns",
        summary="Requeue turns",
        description="Has workers run queued turns now, which may cost money. The same turns, of the same people; "
        "one that runs or has ended is left alone.",
        request=TurnsBody,
        examples=_WISHES,
        responses=_DONE | errors(*_REFUSED, "not_found", unsafe=True),
    )
    def post(self, request: Request) -> Response:
        """Have them taken up."""
        return self.act(request, "requeue")


class CleanupView(ActView):
    """Fails turns that no worker looks after."""

    @extend_schema(
        operation_id="cleanup_turns",
        summary="Clean up turns",
        description="Fails turns that are `orphaned` or `stuck_queued`, without asking a worker. One whose worker "
        "came back meanwhile is left to it.",
        request=TurnsBody,
        examples=_WISHES,
        responses=_DONE | errors(*_REFUSED, unsafe=True),
    )
    def post(self, request: Request) -> Response:
        """Fail them."""
        return self.act(request, "cleanup")


def _category(action: str, name: str) -> str:
    if name not in CATEGORIES:
        raise invalid({"all": f"must be a category: {', '.join(CATEGORIES)}."})
    if action not in CATEGORIES[name].actions:
        possible = [each.name for each in CATEGORIES.values() if action in each.actions]
        problem = f"'{action}' is not for the category '{name}', only for: {', '.join(possible)}."
        raise invalid({"all": problem}, code="not_allowed")
    return name


def _ids(given: list[str]) -> list[uuid.UUID]:
    ids = [as_uuid(each) for each in given]
    if None in ids:
        raise invalid({"ids": "must be ids of turns, as `GET operator/turns` lists them."})
    return [each for each in ids if each is not None]


def _check_fits(action: str, turn_id: uuid.UUID) -> None:
    """Tell whoever named a single turn, to which nothing was done, that it is not there; or to try again."""
    if fitting(action).filter(pk=turn_id).exists():
        raise Busy
    if action == "requeue":
        raise NotFound("There is no such turn in the queue.")
    if action == "stop" and not Turn.objects.filter(pk=turn_id).exists():
        raise NotFound("There is no such turn.")
