"""Side questions: answered from what a session shows by now, beside whatever runs in it, and not written to it.

The answer is made in the process that was asked and exists only as the stream that the caller reads: no turn, no
message, no log. What it used is recorded for the person.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import DatabaseError, InterfaceError

from common.db import db, db_steady, transact
from common.errors import AppError, RateLimited
from common.redaction import redact_text
from common.text import storable
from copilot import selectors
from copilot.agent import history, prompt
from copilot.agent.asking import answered_by, backoff, may_repeat, naming_the_wait, provider_of
from copilot.agent.attached import with_files
from copilot.agent.fallback import StandIn, stand_in_for
from copilot.agent.loop import CLOSING_LINE, DECLINED, no_response, say_line
from copilot.agent.step import Answer, StepStream
from copilot.agent.usage import usage_chunk, used
from copilot.events import schema
from copilot.events.fold import Transcript
from copilot.events.follow import Beat
from copilot.events.schema import Chunk
from copilot.instructions import instructions_of
from copilot.providers.base import (
    AnsweredBy,
    ModelMessage,
    ModelRequest,
    Provider,
    ProviderError,
    Stop,
    StreamPart,
    Text,
    TextPart,
    ToolCallDelta,
    ToolCallStart,
)
from copilot.providers.pricing import price_call
from copilot.providers.registry import default_model
from copilot.turns.asides import record_aside
from copilot.turns.rate import do_count_send
from copilot.turns.submit import check_text
from copilot.usage.limits import check

logger = logging.getLogger(__name__)

#: Side questions of one person that one process answers at once.
AT_ONCE = 2
#: Seconds after which somebody who was refused may try again: there is no telling when an answer ends.
RETRY_AFTER = 5
#: Model calls of one answer, for providers that pause.
STEPS_MAX = 5
#: Seconds of silence before a beat; the caller's rights are asked about as often.
BEAT_SECONDS = 4.0
#: Seconds that an answer waits for its reader before it begins, and that keeping its cost may take at its end.
READER_SECONDS = 10.0
RECORD_SECONDS = 10.0
NO_TOOLS = "No tool was run: a side question is answered from the conversation alone."

_under_way: Counter[Any] = Counter()
_answers: set[SideAnswer] = set()


@dataclass(frozen=True, slots=True)
class _Aside:
    """A side question with all that answering it needs."""

    id: uuid.UUID
    user_id: uuid.UUID
    session_id: uuid.UUID
    #: As ``provider/name``; the request has the name alone.
    model: str
    request: ModelRequest


async def begin_aside(*, user: Any, session_id: object, text: str) -> SideAnswer:
    """Accept a side question; its answer begins when ``chunks`` is read.

    Raises:
        NotFound: no such session of this user.
        Invalid: empty text.
        TooLarge: over 64,000 characters.
        RateLimited: too many at once, or sent too many lately.
        UsageLimit: the person has used as much as they may.
    """
    if _under_way[user.pk] >= AT_ONCE:
        raise RateLimited(
            f"{AT_ONCE} side questions of yours are being answered. Ask again when one of them has ended.",
            window="at_once",
            resets_at=(datetime.now(UTC) + timedelta(seconds=RETRY_AFTER)).isoformat().replace("+00:00", "Z"),
            retry_after=RETRY_AFTER,
        )
    _under_way[user.pk] += 1
    try:
        return SideAnswer(await db(_prepare, user, session_id, text))
    except BaseException:
        _give_place_back(user.pk)
        raise


def end_asides() -> None:
    """End every answer of this process, because it stops: their readers are told. On the loop."""
    for answer in _answers:
        answer.abort()


def _give_place_back(user_id: object) -> None:
    _under_way[user_id] -= 1
    if not _under_way[user_id]:
        del _under_way[user_id]


def _prepare(user: Any, session_id: object, text: str) -> _Aside:
    asked = check_text(text)
    session = selectors.session_of(user, session_id)
    check(user.pk)
    transact(do_count_send)(user.pk)
    about = prompt.note(datetime.now(UTC), {"timezone": user.time_zone}) + prompt.ASIDE
    question = ModelMessage("user", (TextPart(prompt.escape(asked)), TextPart(about)))
    shown = history.conversation(session)
    model = session.model or default_model()
    request = ModelRequest(
        model=model.partition("/")[2],
        system=prompt.system_prompt(instructions_of(session, personal=True)),
        messages=(*shown, question),
        asked_from=len(shown),
        effort=settings.COPILOT_EFFORT,
        max_output_tokens=settings.COPILOT_MAX_OUTPUT_TOKENS,
    )
    return _Aside(uuid.uuid4(), user.pk, session.pk, model, request)


class SideAnswer:
    """The answer to a side question, for one reader."""

    def __init__(self, aside: _Aside) -> None:
        """Take over the person's place, which is given back when the answer has ended. On the loop."""
        self._aside = aside
        self._out = _Out()
        self._wanted = asyncio.Event()
        self._shown = Transcript()
        self._calls = 0
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._answer())
        _answers.add(self)
        self._task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        _answers.discard(self)
        _give_place_back(self._aside.user_id)

    async def chunks(self, still_allowed: Callable[[], Awaitable[None]]) -> AsyncGenerator[Chunk | Beat, None]:
        """Yield the answer as it is made, a ``Beat`` when it is silent; exactly one terminal chunk comes last.

        Whoever leaves ends the model's call.

        Args:
            still_allowed: raises when the reader may not read on, or nobody can tell; then it ends with ``abort``.
        """
        self._wanted.set()
        checked_at = time.monotonic()
        try:
            while True:
                chunk = await self._out.next(BEAT_SECONDS)
                if time.monotonic() - checked_at >= BEAT_SECONDS:
                    checked_at = time.monotonic()
                    await still_allowed()
                if chunk is None and self._task.done():
                    chunk = schema.abort("stopped")  # it waited too long for us
                if chunk is None:
                    yield Beat()
                    continue
                for each in self._in_order(chunk):
                    yield each
                if schema.is_terminal(chunk):
                    return
        except (AppError, DatabaseError, InterfaceError) as error:
            logger.info("aside ended", extra={"action": "aside_ended", "error": repr(error)})
            for each in self._in_order(schema.abort("stopped")):
                yield each
        finally:
            self._task.cancel()
            await asyncio.wait([self._task])

    def abort(self) -> None:
        """Have the reader told that it ends here. On the loop."""
        self._out.emit(schema.abort("stopped"))

    def leave(self) -> None:
        """End the model's call, if it goes on: nobody reads any more. From any thread."""
        with suppress(RuntimeError):  # the loop has ended, and with it the call
            self._loop.call_soon_threadsafe(self._task.cancel)

    def _in_order(self, chunk: Chunk) -> list[Chunk]:
        """Return the chunk behind what ends the parts that it leaves open."""
        ends = chunk["type"] in ("data-error", "abort")
        chunks = [*(self._shown.closing(tool_error="") if ends else []), chunk]
        for each in chunks:
            self._shown.apply(each)
        return chunks

    async def _answer(self) -> None:
        """Make the answer, once somebody reads it; its last chunk is terminal, whatever happens."""
        try:
            async with asyncio.timeout(READER_SECONDS):
                await self._wanted.wait()
        except TimeoutError:
            return None  # the reader left before the first word
        self._out.emit(schema.start(self._aside.id))
        try:
            async with asyncio.timeout(settings.TURN_MAX_SECONDS) as limit:
                reason = await self._say()
        except ProviderError as error:
            self._fail(error)
        except Exception as error:
            if isinstance(error, TimeoutError) and limit.expired():
                detail = f"The answer took longer than {settings.TURN_MAX_SECONDS:g} seconds."
                return self._fail(ProviderError("timeout", detail))
            logger.exception(
                "aside failed", extra={"action": "aside_failed", "session_id": self._aside.session_id}
            )
            hint = "The operator finds the details in the log."
            self._fail(ProviderError("unknown", "Something went wrong inside the server.", hint=hint))
        else:
            self._out.emit(schema.finish_step())
            self._out.emit(schema.finish(reason))
        return None

    def _fail(self, error: ProviderError) -> None:
        data = {"code": error.code, **({"hint": storable(error.hint)} if error.hint else {})}
        self._out.emit(schema.data("error", data))
        self._out.emit(schema.error(redact_text(storable(error.detail))))

    async def _say(self) -> str:
        """Have the model answer; return the finish reason."""
        provider, name = provider_of(self._aside.model)
        self._asked = StandIn(self._aside.model, provider, name)
        messages = list(self._aside.request.messages)
        has_text = has_reasoning = False
        for step in range(1, STEPS_MAX + 1):
            if step > 1:
                self._out.emit(schema.finish_step())
            answer = await self._ask(replace(self._aside.request, messages=tuple(messages), step=step))
            has_text, has_reasoning = has_text or answer.has_text, has_reasoning or answer.has_reasoning
            if not answer.again:
                break
            messages += history.step_messages(answer.step.content, [])
        if has_text:
            return answer.step.finish_reason
        if answer.step.finish_reason == "content-filter":
            say_line(self._out, DECLINED)
            return "content-filter"
        if not has_reasoning:
            raise no_response()
        say_line(self._out, CLOSING_LINE)
        return "other"

    async def _ask(self, request: ModelRequest) -> Answer:
        """Ask the model for one step, then the one that takes over; again as long as nothing was shown."""
        tries = failures = 0
        while True:
            self._calls += 1
            asked = self._asked
            stream = StepStream(self._out, datetime.now(UTC), model=asked.model)
            sent = replace(request, model=asked.name, tries=tries)
            try:
                sent = await with_files(sent, asked.model, self._aside.session_id)
                answer = await stream.run(
                    _WithoutTools(asked.provider), sent, idle_seconds=2 * settings.TOOL_MAX_SECONDS
                )
            except asyncio.CancelledError:
                await self._record(stream, sent, asked)
                raise
            except ProviderError as error:
                if stream.heard.characters or stream.usage:
                    await self._record(stream, sent, asked)
                tries, failures = tries + 1, failures + 1
                if stream.streamed:
                    raise
                if not may_repeat(error, tries):
                    self._asked, tries = self._next_model(error, request), 0
                self._out.emit(schema.status("retrying", attempt=failures + 1, reason=error.code))
                await asyncio.sleep(backoff(tries, error.retry_after) if tries else 0)
            else:
                await self._record(stream, sent, asked, whole=True)
                return answer

    def _next_model(self, error: ProviderError, request: ModelRequest) -> StandIn:
        """Return the model that takes over, once an answer and at its beginning; raise the error without one."""
        begun = request.step > 1 or self._asked.model != self._aside.model
        stand_in = stand_in_for(self._aside.model) if error.transient and not begun else None
        if stand_in is None:
            raise naming_the_wait(error) from error
        return stand_in

    async def _record(
        self, stream: StepStream, request: ModelRequest, asked: StandIn, *, whole: bool = False
    ) -> None:
        """Keep what was used, also of a call that was cut off."""
        if not stream.called:
            return
        usage = used(stream.usage, request, stream.heard, whole=whole)
        other = stream.answered_by or AnsweredBy("")
        self._out.emit(usage_chunk(usage, asked.model))
        about = self._aside
        try:
            # Nobody else waits for the row, but the database may be away for longer than this process lives.
            async with asyncio.timeout(RECORD_SECONDS):
                await db_steady(
                    record_aside,
                    aside=about.id,
                    call=self._calls,
                    user_id=about.user_id,
                    session_id=about.session_id,
                    model=asked.model,
                    answered_by=answered_by(other, asked.name),
                    usage=usage,
                    cost=price_call(asked.model, usage, answered_by=other.model),
                )
        except TimeoutError:
            logger.error("usage lost", extra={"action": "usage_lost", "user": about.user_id})


class _Out:
    """Where the model's answer goes: to the reader, chunk by chunk, and to no log."""

    def __init__(self) -> None:
        self.title = ""  # suggested, and nobody's: the session stays as it is
        self._chunks: asyncio.Queue[Chunk] = asyncio.Queue()
        self._parts = 0
        self._in_step = False

    def emit(self, chunk: Chunk) -> None:
        """Have the reader get a chunk. A step that is tried again has begun already."""
        if chunk["type"] == "start-step":
            if self._in_step:
                return
            self._in_step = True
        elif chunk["type"] == "finish-step":
            self._in_step = False
        self._chunks.put_nowait(chunk)

    def send_transient(self, chunk: Chunk) -> None:
        """Have the reader get a chunk; no other kind of chunk is stored here either."""
        self._chunks.put_nowait(chunk)

    def new_part(self, kind: str) -> str:
        """Return an id for a part of the stream."""
        self._parts += 1
        return f"{kind[0]}{self._parts}"

    def note_first_chunk(self, created_at: datetime) -> None:
        """Nobody asks how long the first word took."""

    async def next(self, seconds: float) -> Chunk | None:
        """Return the next chunk, None after so many seconds of silence."""
        try:
            async with asyncio.timeout(seconds):
                return await self._chunks.get()
        except TimeoutError:
            return None


class _WithoutTools:
    """A provider whose model calls no tools: it is offered none, and what it calls all the same is not run."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    async def stream(self, request: ModelRequest) -> AsyncGenerator[StreamPart, None]:
        """Yield the answer without calls; one that made some says that nothing came of them."""
        said = called = False
        async with aclosing(self._provider.stream(request)) as parts:
            async for part in parts:
                match part:
                    case ToolCallStart() | ToolCallDelta():
                        called = True
                    case Stop() if called:
                        yield Text(f"\n\n{NO_TOOLS}" if said else NO_TOOLS)
                        yield Stop("stop")
                    case _:
                        said = said or isinstance(part, Text)
                        yield part
