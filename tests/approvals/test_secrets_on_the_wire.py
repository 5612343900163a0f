"""A secret in an argument reaches the tool, and nobody who looks: no frame, no answer, no line of the log."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from contextlib import suppress

import pytest

from approvals import actions
from approvals.models import Action
from common.db import db
from common.logs import LineFormatter
from common.redaction import Redacted
from copilot.agent import step
from copilot.models import Session
from copilot.providers import demo
from copilot.turns import progress
from linking.keys import issue_key
from tests.approvals.asking import People, note, written
from tests.approvals.waiting import api_of, for_each
from tests.chat.sockets import Wire, connected
from tests.factories import make_session
from tests.harness import Crew

pytestmark = pytest.mark.django_db(transaction=True)

#: Made up, in forms that everybody knows.
SECRET = "ghp_" + "Zk3v9QmX7rT2bNw8LsY4cHd6JfG1pA5eUoIx"
WITH = f"use {SECRET} for it"


@pytest.fixture(autouse=True)
def _secretive(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that knows a secret which nobody told it: it puts it where a message says @@."""
    arguments = demo._tool_arguments
    monkeypatch.setattr(demo, "_tool_arguments", lambda call: arguments(call).replace("@@", SECRET))


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """All that loggers say, as it is written to the log."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(LineFormatter())
    root, copilot = logging.getLogger(), logging.getLogger("copilot")
    before = root.level, copilot.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    copilot.setLevel(logging.DEBUG)
    yield written
    root.removeHandler(handler)
    root.setLevel(before[0])
    copilot.setLevel(before[1])


async def hear(wire: Wire, heard: list[str]) -> None:
    """Keep every frame that comes."""
    while True:
        frame = await wire.frame("session", "event", "html", "ack", "error", "approvals", "sessions")
        heard.append(json.dumps(frame, ensure_ascii=False))


def is_session_with(frame: str, action: Action) -> bool:
    """Whether a frame is the session as it is while it waits for ``action``."""
    return json.loads(frame).get("type") == "session" and str(action.pk) in frame


async def run(crew: Crew, people: People) -> tuple[Session, list[str]]:
    """Have somebody follow a turn that asks and is approved, over two sockets; return the frames."""
    await crew.hire()
    session = await db(make_session)
    _, key = await db(lambda: issue_key(user=session.user))
    heard: list[str] = []
    async with connected(f"sessions/{session.pk}/", key) as wire, connected("user/", key) as around:
        await wire.send({"type": "follow", "html": True})
        listening = [asyncio.create_task(hear(each, heard)) for each in (wire, around)]
        turn, action = await people.ask(note("use @@ for it"), session)
        await crew.true(lambda: any(is_session_with(frame, action) for frame in heard))
        api = await db(api_of, session.user)
        paths = (f"approvals/{action.pk}", f"sessions/{session.pk}", f"turns/{turn.pk}/events")
        heard += [(await db(api.get, path)).content.decode() for path in paths]
        await wire.send(
            {
                "type": "decide",
                "approval": str(action.pk),
                "decisions": for_each(action, "approve"),
                "client_id": "d",
            }
        )
        await crew.ended(turn)
        await crew.true(lambda: any('"finish"' in frame for frame in heard))
        paths = (f"turns/{turn.pk}", f"turns/{turn.pk}/events", "approval-log")
        heard += [(await db(api.get, path)).content.decode() for path in paths]
        for task in listening:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
    return session, heard


def said(frames: list[str]) -> str:
    """Put the pieces of what was streamed together, as a page does."""
    chunks = [frame["chunk"] for frame in map(json.loads, frames) if frame.get("type") == "event"]
    return "".join(chunk.get("delta", "") + chunk.get("inputTextDelta", "") for chunk in chunks)


async def test_a_secret_argument_reaches_the_tool_and_no_frame_no_answer_and_no_line_of_the_log(
    crew: Crew, people: People, log: io.StringIO, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    session, heard = await run(crew, people)
    assert written(session.pk) == [WITH]
    seen = "".join(heard)
    assert "⟦hidden:" in seen
    for secret in (SECRET, SECRET.removeprefix("ghp_")[:12], SECRET[-12:]):
        assert secret not in seen
        assert secret not in said(heard)
        assert secret not in log.getvalue()
        assert secret not in caplog.text
    assert "turn claimed" in log.getvalue()


async def test_without_redaction_the_frames_have_it(
    crew: Crew, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: what is looked at is where it would be."""
    for module in (actions, progress, step):
        monkeypatch.setattr(module, "redact_json", lambda value: Redacted(value, {}))
    _, heard = await run(crew, people)
    kinds = {json.loads(frame).get("type") for frame in heard if SECRET in frame}
    assert {"session", "event"} <= kinds
