"""Reading one turn, waiting for its end, and stopping it. Plain async views: what waits holds no connection."""

from __future__ import annotations

import functools
import uuid

from django.http import HttpRequest, JsonResponse

from chat.api.parsing import seconds_to_wait
from chat.api.serializers import CancelBody
from chat.api.watch import watch
from common.auth import Caller, api_view_async
from common.bodies import Body, read_body
from common.db import db
from common.errors import NotFound
from common.ids import as_uuid
from copilot import objects, selectors
from copilot.turns.cancel import cancel_turn
from copilot.turns.wait import until_settled


@api_view_async()
async def turn_view(request: HttpRequest, turn_id: str, *, caller: Caller) -> JsonResponse:
    """Answer with the turn; with ``wait``, once it has ended or waits for a person, or the time is over."""
    wait = seconds_to_wait(request.GET)
    known = as_uuid(turn_id)
    if known is None:
        raise NotFound
    if wait:
        await db(selectors.turn_of, caller.user, known)
        await until_settled(known, seconds=wait, follower=functools.partial(watch, caller))
    return JsonResponse(await db(_shown, caller, known))


def _shown(caller: Caller, turn_id: uuid.UUID) -> objects.Object:
    return objects.turn_object(selectors.turn_of(caller.user, turn_id), caller.user)


@api_view_async(methods=("POST",))
async def cancel_in_session_view(request: HttpRequest, session_id: str, *, caller: Caller) -> JsonResponse:
    """Stop the session's live turn, or only the one that the body names."""
    body = read_body(CancelBody, request)
    if as_uuid(session_id) is None:
        raise NotFound
    return await cancelled(caller, session_id=session_id, turn_id=body.get("turn"))


@api_view_async(methods=("POST",))
async def cancel_turn_view(request: HttpRequest, turn_id: str, *, caller: Caller) -> JsonResponse:
    """Stop this turn and no other."""
    read_body(Body, request)
    return await cancelled(caller, turn_id=turn_id)


async def cancelled(caller: Caller, *, session_id: str | None = None, turn_id: str | None = None) -> JsonResponse:
    """Stop a session's live turn, or one turn, and answer with what became of it."""
    result = await cancel_turn(user=caller.user, session_id=session_id, turn_id=turn_id)
    return JsonResponse(objects.cancel_object(result))
