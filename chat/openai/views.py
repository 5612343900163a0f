"""``/openai/chat/completions`` and ``/openai/models``."""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse

from chat.api.watch import watch
from chat.openai.answer import Chunks, Json, completion_object
from chat.openai.errors import TurnFailed, error_object, refusal
from chat.openai.request import CompletionBody, question_of
from common.auth import Caller, api_view_async
from common.bodies import read_body
from common.db import db
from common.errors import AppError, NotFound, invalid
from common.rest import origin_of
from copilot import objects, selectors
from copilot.events.follow import Beat
from copilot.models import Turn
from copilot.models.message import answers_of
from copilot.providers import registry
from copilot.serving import DONE, HEARTBEAT
from copilot.turns.cancel import request_stop
from copilot.turns.given import Question, ask_once
from copilot.turns.wait import until_settled

logger = logging.getLogger(__name__)

SSE_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
KEY_MAX = 255
#: Seconds for which a call waits: until the client leaves. Much longer than a turn may run.
WAIT_MAX = 7 * 86_400.0


@api_view_async(methods=("POST",), refusal=refusal)
async def completions_view(request: HttpRequest, *, caller: Caller) -> HttpResponse | StreamingHttpResponse:
    """Answer the last message of the request, whole or as it is said.

    Whoever leaves before the end stops the turn, as nobody else would ever read the answer; with an
    ``Idempotency-Key`` it goes on, and the same call gets it later.
    """
    key = _key_of(request)
    body, question = await asyncio.to_thread(_read, request)  # a whole conversation is in it
    call = _Call(caller, leaves=key is not None)
    try:
        await call.begin(question, key)
        if not body.get("stream"):
            return JsonResponse(await call.whole())
    except BaseException:  # the client left, or may not read the answer any more
        await db(call.leave)
        raise
    usage = body.get("stream_options", {}).get("include_usage", False)
    return StreamingHttpResponse(_Stream(call, usage=usage), content_type="text/event-stream", headers=SSE_HEADERS)


def _read(request: HttpRequest) -> tuple[dict[str, Any], Question]:
    body = read_body(CompletionBody, request)
    return body, question_of(body)


def _key_of(request: HttpRequest) -> str | None:
    key = request.headers.get("Idempotency-Key")
    if key is not None and not 0 < len(key) <= KEY_MAX:
        raise invalid({"Idempotency-Key": f"must have 1 to {KEY_MAX} characters."})
    return key


class _Call:
    """A turn on behalf of one caller, who may leave before its end.

    Args:
        leaves: the turn goes on without the caller.
    """

    def __init__(self, caller: Caller, *, leaves: bool) -> None:
        self.caller = caller
        self.turn_id: uuid.UUID | None = None
        self._over = leaves

    async def begin(self, question: Question, key: str | None) -> None:
        """Begin the turn. Also when the caller leaves meanwhile it is known which one it is."""
        await db(self._begin, question, key)

    def _begin(self, question: Question, key: str | None) -> None:
        origin = origin_of(self.caller)
        accepted = ask_once(user=self.caller.user, question=question, key=key, origin=origin)
        self.turn_id = accepted.turn.pk if accepted.turn else None

    @property
    def turn(self) -> uuid.UUID:
        """The turn's id, once it began."""
        if self.turn_id is None:
            raise NotFound
        return self.turn_id

    def leave(self) -> None:
        """Stop the turn, unless it has ended or is to go on (sync)."""
        if self._over or self.turn_id is None:
            return
        home = Turn.objects.filter(pk=self.turn_id).values_list("session_id", flat=True).first()
        with suppress(AppError):  # deleted meanwhile; what could not be stopped comes to its end
            request_stop(user=self.caller.user, session_id=home, turn_id=self.turn_id, reason="stopped")

    async def whole(self) -> Json:
        """Wait for the end and return the answer.

        Raises:
            TurnFailed: there is none.
            NotAuthenticated, NotFound: the caller may not read it any more.
        """
        await until_settled(self.turn, seconds=WAIT_MAX, follower=functools.partial(watch, self.caller))
        turn, parts, reason = await db(self.ended)
        return completion_object(turn, parts, reason)

    def shown(self) -> Json:
        """Return the turn object (sync)."""
        return objects.turn_object(selectors.turn_of(self.caller.user, self.turn))

    def ended(self) -> tuple[Json, list[Json], str]:
        """Return the turn object, the parts of the answer and the finish reason (sync).

        Raises:
            TurnFailed: it did not complete.
        """
        turn = selectors.turn_of(self.caller.user, self.turn)
        self._over = turn.is_terminal or self._over
        if turn.status != Turn.Status.COMPLETED:
            nothing = {"code": "unknown", "detail": "The answer waits for a person, whom nobody can ask here."}
            raise TurnFailed(turn.public_error() or nothing)
        parts = [part for message in answers_of(turn.pk) for part in message.parts]
        return objects.turn_object(turn), parts, turn.outcome or ""


class _Stream:
    """The answer's bytes. Django closes it with the response, wherever in the stream the client went away."""

    def __init__(self, call: _Call, *, usage: bool) -> None:
        self._pieces = _sse(call, usage=usage)
        self.close = call.leave

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._pieces


async def _sse(call: _Call, *, usage: bool) -> AsyncIterator[bytes]:
    """Yield the answer; what goes wrong on the way is an event too, as the headers are sent."""
    try:
        chunks = Chunks(await db(call.shown), usage=usage)
        yield _event(chunks.first())
        async with aclosing(watch(call.caller, call.turn, 0)) as items:  # type: ignore[type-var]
            async for item in items:
                if isinstance(item, Beat):
                    yield HEARTBEAT
                    continue
                for chunk in chunks.take(item.seq, item.chunk):
                    yield _event(chunk)
        turn, _, reason = await db(call.ended)
        for chunk in chunks.last(turn, reason):
            yield _event(chunk)
    except AppError as error:
        yield _event({"error": error_object(error)})
    except Exception:
        logger.exception("stream broke", extra={"action": "stream_broke", "turn_id": call.turn_id})
        broken = AppError("Something went wrong inside the server.", code="unknown")
        yield _event({"error": {**error_object(broken), "type": "server_error"}})
    yield DONE


def _event(data: Json) -> bytes:
    return f"data: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n".encode()


# --- models --------------------------------------------------------------------------------------


@api_view_async(refusal=refusal)
async def models_view(request: HttpRequest, *, caller: Caller) -> JsonResponse:
    """Answer with the models that can be asked, in the operator's order."""
    return JsonResponse({"object": "list", "data": list(map(_model, _names()))})


@api_view_async(refusal=refusal)
async def model_view(request: HttpRequest, model_id: str, *, caller: Caller) -> JsonResponse:
    """Answer with one of them."""
    if model_id not in _names():
        raise NotFound(f"There is no model {model_id[:200]!r}.", code="unknown_model", model=model_id[:200])
    return JsonResponse(_model(model_id))


def _names() -> list[str]:
    return [info.id for info in registry.offered_models()]


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": name.partition("/")[0]}
