"""Naming a session, beside its turns: a task of its own, with a client of its own and little time.

A hint like any other: a session that is asked for twice is named once, and one that is not keeps the first words
of its first message.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from contextlib import aclosing
from dataclasses import dataclass

from common.db import db
from copilot.agent import title_text
from copilot.agent.called import measured_call
from copilot.models import Message, Session
from copilot.providers.base import ModelMessage, ModelRequest, Provider, ProviderError, Stop, Text, TextPart, Usage
from copilot.providers.pricing import price_call
from copilot.providers.registry import UnknownModel, provider_for
from copilot.turns.asides import record_aside
from copilot.turns.naming import replace_title, title_model

logger = logging.getLogger(__name__)

#: Seconds that naming a session takes at most, whatever the model does.
SECONDS = 15.0
#: Most tokens of an answer: thinking that cannot be switched off takes some. The second question may take more.
TOKENS = (512, 1024)
#: Messages at the beginning or the end of a session among which an exchange is looked for.
_NEAR = 12


@dataclass(frozen=True, slots=True)
class _Subject:
    session_id: uuid.UUID
    user_id: uuid.UUID
    model: str
    title: str
    asked: str
    answered: str


async def name_session(session_id: uuid.UUID, *, again: bool = False) -> None:
    """Have a model name a session from its first exchange; where it cannot, shorten a title that is too long.

    A title that a person chose stays, and so does one that changed meanwhile; so does the place in lists.

    Args:
        again: give a new title to a session that a model named, from its latest exchange.
    """
    subject = await db(_subject, session_id, again=again)
    if subject is None:
        return
    if title := await _ask(subject):
        await db(replace_title, session_id, seen=subject.title, title=title, source=Session.TitleSource.MODEL)
    elif subject.title.endswith("…") and not again and (title := title_text.local_title(subject.asked)):
        await db(replace_title, session_id, seen=subject.title, title=title, source=Session.TitleSource.AUTO)


def _subject(session_id: uuid.UUID, *, again: bool) -> _Subject | None:
    """Return what is to be named; None when there is nothing to do (any more)."""
    session = Session.objects.filter(pk=session_id, temporary=False).first()
    source = Session.TitleSource.MODEL if again else Session.TitleSource.AUTO
    model = title_model(session) if session is not None else ""
    if session is None or session.title_source != source or not model:
        return None
    asked, answered = _exchange(session, latest=again)
    if not asked:
        return None
    return _Subject(session.pk, session.user_id, model, session.title, asked, answered)


def _exchange(session: Session, *, latest: bool) -> tuple[str, str]:
    """Return what the person said first and what it was answered; or last."""
    order = "-seq" if latest else "seq"
    rows = list(Message.objects.settled().shown().filter(session=session).order_by(order)[:_NEAR])
    if latest:
        rows.reverse()
        asking = [place for place, row in enumerate(rows) if row.role == Message.Role.USER and row.text.strip()]
        rows = rows[asking[-1] :] if asking else []
    asked = answered = ""
    for row in rows:
        if row.role == Message.Role.USER:
            if answered:
                break
            asked = asked or title_text.snippet(row.text)
        else:
            answered = answered or title_text.snippet(row.text)
    return asked, answered


async def _ask(subject: _Subject) -> str:
    """Return the title that the model gives, "" when it gives none in time."""
    attempt = uuid.uuid4()
    try:
        provider, model = await asyncio.to_thread(provider_for, subject.model, idle_seconds=SECONDS)
        async with asyncio.timeout(SECONDS):
            for variant, tokens in enumerate(TOKENS):
                question = title_text.question(variant, subject.asked, subject.answered)
                request = ModelRequest(
                    model=model,
                    system=title_text.SYSTEM,
                    messages=(ModelMessage("user", (TextPart(question),)),),
                    effort="none",
                    max_output_tokens=tokens,
                )
                if title := title_text.title_of(await _say(provider, request, subject, attempt, variant + 1)):
                    return title
    except (ProviderError, UnknownModel, TimeoutError) as error:
        ids = {"session_id": subject.session_id, "error": type(error).__name__}
        logger.info("no title", extra={"action": "title_failed", **ids})
    return ""


async def _say(provider: Provider, request: ModelRequest, subject: _Subject, attempt: uuid.UUID, call: int) -> str:
    """Return what the model answers, "" when it was cut; a failure counts like an empty answer, the first time."""
    said: list[str] = []
    usage: Usage | None = None
    cut = False
    try:
        with measured_call(subject.model):
            async with aclosing(provider.stream(request)) as stream:
                async for part in stream:
                    match part:
                        case Text(delta=delta):
                            said.append(delta)
                        case Usage():
                            usage = part
                        case Stop(reason=reason):
                            cut = reason == "length"
    except ProviderError as error:
        if call == len(TOKENS) or not error.transient:
            raise
        return ""
    finally:
        if usage is not None:
            await _record(subject, usage, attempt, call)
    return "" if cut else "".join(said)


async def _record(subject: _Subject, usage: Usage, attempt: uuid.UUID, call: int) -> None:
    """Keep what it used as the person's, like that of a side question: it is no turn's."""
    await db(
        record_aside,
        aside=attempt,
        call=call,
        user_id=subject.user_id,
        session_id=subject.session_id,
        model=subject.model,
        usage=usage,
        cost=price_call(subject.model, usage),
    )
