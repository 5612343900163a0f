"""``/bot/turns`` and what is below it: for bots. What waits is a plain async view, and holds no connection."""

from __future__ import annotations

import functools
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace

from django.http import HttpRequest, JsonResponse, StreamingHttpResponse
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from common.apidocs import accepted, bot_errors
from common.bodies import Body, read_body
from common.db import db
from common.errors import NotAuthenticated
from common.paging import number
from common.waiting import seconds_to_wait
from copilot import components, serving
from copilot.events.follow import Beat, Event
from copilot.models import Turn
from copilot.objects import Object, cancel_object
from copilot.turns.cancel import cancel_turn
from copilot.turns.wait import until_settled
from linking.api import turn_examples
from linking.api.turn_bodies import BotTurnBody
from linking.bot_auth import BotCaller, BotView, bot_of, bot_view_async, check_bot_still_valid
from linking.bot_objects import bot_accepted_object, bot_chunk, bot_turn_object
from linking.bot_turns import Place, send_to_thread
from linking.models.links import LinkKind
from linking.threads import turn_of


class BotTurnsView(BotView):
    """What people say to the bot."""

    @extend_schema(
        operation_id="send_bot_message",
        summary="Pass on what somebody said",
        description="The link's owner pays. Each thread has a session of its own, made by its first message; a "
        "busy one queues the message, to be read between two steps of the running turn or by the next one. The "
        "same `client_id` with the same text is answered with 200 and the message's present state, which is how "
        "to learn what became of one that waited. What anybody but the owner's linked identity writes runs "
        "without the owner's rules, instructions, files and MCP servers, unless the link lends them.",
        request=BotTurnBody,
        responses=accepted(
            components.Accepted,
            {"a turn began": turn_examples.ACCEPTED, "it waits": turn_examples.QUEUED},
            again=True,
        )
        | bot_errors(
            "invalid",
            "unknown_field",
            "refused_text",
            "not_linked",
            "queue_full",
            "client_id_reused",
            "usage_limit",
            "text_too_long",
            unsafe=True,
        ),
        examples=[OpenApiExample("server", value=turn_examples.SAID, request_only=True)],
    )
    def post(self, request: Request) -> Response:
        """Accept it."""
        wish = self.body(request, BotTurnBody)
        where = {name: wish.pop(name) for name in ("kind", "platform_id", "thread_id") if name in wish}
        result = send_to_thread(Place(bot=bot_of(request), **where), **wish)
        shown = bot_accepted_object(result, in_server=where["kind"] == LinkKind.SERVER)
        return Response(shown, status=200 if result.repeated else 202)


def watch(caller: BotCaller, turn_id: uuid.UUID, after: int) -> AsyncIterator[Event | Beat]:
    """Follow a turn for as long as the bot may read it; its chunks are as they are stored.

    Raises:
        NotFound: its thread was unlinked.
        NotAuthenticated: the key was revoked, or the bot switched off.
    """
    return serving.watch(turn_id, after, check=functools.partial(_check, caller, turn_id))


def _check(caller: BotCaller, turn_id: uuid.UUID) -> None:
    if not check_bot_still_valid(caller):
        raise NotAuthenticated
    turn_of(caller.bot, turn_id)


@bot_view_async()
async def bot_turn_view(request: HttpRequest, turn_id: str, *, caller: BotCaller) -> JsonResponse:
    """Answer with the turn; with ``wait``, once it has ended or waits for a person, or the time is over."""
    wait = seconds_to_wait(request.GET)
    turn = await db(turn_of, caller.bot, turn_id)
    if wait:
        await until_settled(turn.pk, seconds=wait, follower=functools.partial(watch, caller))
    return JsonResponse(await db(_shown, caller, turn.pk))


async def _watch_as_shown(
    caller: BotCaller, in_server: bool, turn_id: uuid.UUID, after: int
) -> AsyncIterator[Event | Beat]:
    async with aclosing(watch(caller, turn_id, after)) as items:  # type: ignore[type-var]
        async for item in items:
            yield (
                replace(item, chunk=bot_chunk(item.chunk, in_server=in_server))
                if isinstance(item, Event)
                else item
            )


def _in_server(turn: Turn) -> bool:
    return turn.session.bot_thread.server_link_id is not None


def _shown(caller: BotCaller, turn_id: uuid.UUID) -> Object:
    turn = turn_of(caller.bot, turn_id)
    return bot_turn_object(turn, in_server=_in_server(turn))


@bot_view_async()
async def bot_turn_events_view(request: HttpRequest, turn_id: str, *, caller: BotCaller) -> JsonResponse:
    """Answer with the events after ``after``; with ``wait``, once there is one or the time is over."""
    after = number(request.GET, "after", default=0) or 0
    wait = seconds_to_wait(request.GET)
    turn = await db(turn_of, caller.bot, turn_id)
    page = await serving.events_object(turn.pk, after, wait, functools.partial(watch, caller))
    for event in page["events"]:
        event["chunk"] = bot_chunk(event["chunk"], in_server=_in_server(turn))
    return JsonResponse(page)


@bot_view_async()
async def bot_turn_stream_view(request: HttpRequest, turn_id: str, *, caller: BotCaller) -> StreamingHttpResponse:
    """Answer with the events after ``Last-Event-ID`` (or ``after``) as they happen, as server-sent events."""
    after = serving.resume_from(request)
    turn = await db(turn_of, caller.bot, turn_id)
    follower = functools.partial(_watch_as_shown, caller, _in_server(turn))
    return serving.stream_response(turn.pk, after, follower)


@bot_view_async(methods=("POST",), counted=False)
async def cancel_bot_turn_view(request: HttpRequest, turn_id: str, *, caller: BotCaller) -> JsonResponse:
    """Stop this turn and no other."""
    read_body(Body, request)
    turn = await db(turn_of, caller.bot, turn_id)
    return JsonResponse(cancel_object(await cancel_turn(user=turn.user, turn_id=turn.pk, actor=caller.bot.name)))
