"""One run: the events of a turn up to its end or its next pause, as server-sent events.

Closing it changes nothing for the turn.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from chat.agui.begin import Run
from chat.agui.conversation import Conversation, before_answer, without
from chat.agui.request import RunRequest
from chat.agui.speech import Speech, told_ids
from chat.ui.log import Told, asks_person, events_after, read_told, still_waits
from common.auth import Caller
from common.db import db
from common.errors import AppError, NotFound
from copilot import objects, selectors
from copilot.events.follow import Beat
from copilot.serving import HEARTBEAT

logger = logging.getLogger(__name__)
Json = dict[str, Any]


async def sse(caller: Caller, request: RunRequest, run: Run) -> AsyncIterator[bytes]:
    """Yield the run; it always has an end of its own, which is what its client waits for."""
    about = {"threadId": request.thread, "runId": request.run}
    yield _event({"type": "RUN_STARTED", **about, "protocolVersion": "1.0"})
    speech = Speech(run.turn_id, about, Conversation([]))
    try:
        told = await db(read_told, run.turn_id, pool="follow")
        messages = _before(request, run, told)
        conversation = Conversation(messages)
        speech = Speech(run.turn_id, about, conversation)
        if messages != request.messages:
            yield _event(conversation.snapshot())
        async with aclosing(_events(caller, run, told, speech)) as events:
            async for item in events:
                yield HEARTBEAT if isinstance(item, Beat) else _event(item)
    except AppError as error:
        for event in speech.fail(error.detail, error.error_code):
            yield _event(event)
    except Exception:
        logger.exception("run broke", extra={"action": "stream_broke", "turn_id": run.turn_id})
        for event in speech.fail("Something went wrong inside the server.", "unknown"):
            yield _event(event)


def _before(request: RunRequest, run: Run, told: Told) -> list[Json]:
    """Return the client's messages without those that it is about to be told: it may have some of them by now."""
    if run.again:
        return before_answer(request.messages, request.place)
    if not run.after:
        return request.messages
    return without(request.messages, told_ids(run.turn_id, told.rows, run.after))


async def _events(caller: Caller, run: Run, told: Told, speech: Speech) -> AsyncGenerator[Json | Beat]:
    speech.pass_over(row for row in told.rows if row[0] <= run.after)
    async with aclosing(events_after(caller, run.turn_id, run.after, told)) as items:
        async for item in items:
            if isinstance(item, Beat):
                yield item
            elif item.chunk["type"] == "finish":
                turn = await db(selectors.turn_of, caller.user, run.turn_id)
                usage = (await db(objects.turn_object, turn))["usage"]
                for event in speech.finish(usage):
                    yield event
                return
            elif asks_person(item.chunk) and await db(still_waits, run.turn_id, item.chunk, pool="follow"):
                for event in speech.ask(item.chunk):
                    yield event
                return
            else:
                for event in speech.take(item.seq, item.chunk):
                    yield event
                if item.chunk["type"] in ("error", "abort"):
                    return
    raise NotFound("The conversation was deleted.")


def _event(event: Json) -> bytes:
    return f"data: {json.dumps(event, ensure_ascii=False, separators=(',', ':'))}\n\n".encode()
