"""What people do when they are asked. The fixture ``people`` is imported by the conftests that use it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from approvals.actions import decide
from approvals.decisions import Wish
from approvals.models import Action
from common.db import db
from copilot.models import Session, ToolCall, Turn
from copilot.workspaces import workspace_of
from tests.harness import Crew


def note(*texts: str) -> str:
    """Return a message that makes the model ask for so many notes in one batch, then to say what came back."""
    lines = [f"/tool demo_note {json.dumps({'text': text})}" for text in texts]
    return "\n".join([*lines, "/results"])


def written(session_id: object, name: str = "notes.txt") -> list[str]:
    """Return the lines that tools wrote into a file of a session: what really happened."""
    file = workspace_of(session_id) / name
    return file.read_text().splitlines() if file.exists() else []


class People:
    """Sends messages that ask, and decides."""

    def __init__(self, crew: Crew) -> None:
        self.crew = crew

    async def ask(self, text: str, session: Session | None = None, **over: Any) -> tuple[Turn, Action]:
        """Send a message and wait until its turn waits for a person."""
        turn = await self.crew.send(text, session, **over)
        return await self.asked(turn)

    async def asked(self, turn: Turn, *, before: Action | None = None) -> tuple[Turn, Action]:
        """Wait until a turn waits for a decision, another one than ``before``."""

        def waits() -> bool:
            now = Turn.objects.get(pk=turn.pk)
            assert not now.is_terminal, f"the turn ended: {now.status} {now.error}"
            return now.action_id is not None and (before is None or now.action_id != before.pk)

        await self.crew.true(waits)
        now = await self.crew.now(turn)
        return now, await db(Action.objects.get, pk=now.action_id)

    async def decide(self, action: Action, *types: str, scope: str = "once", **fields: Any) -> Action:
        """Decide the calls of an action in order, the last type for all that remain."""
        return await db(decide_now, action, *types, scope=scope, **fields)

    async def answer(self, action: Action, text: str) -> Action:
        """Answer a question."""
        return await db(
            lambda: decide(user=action.user, action_id=action.pk, wish=Wish(answer=text), surface="web")
        )

    async def calls(self, turn: Turn) -> list[ToolCall]:
        """Return the calls of a turn, in the model's order."""
        return await db(lambda: list(ToolCall.objects.filter(turn=turn).order_by("step", "position")))


def decide_now(action: Action, *types: str, scope: str = "once", user: Any = None, **fields: Any) -> Action:
    """Decide from any thread; ``fields`` go with each decision."""
    kinds = [*types, *[types[-1]] * (len(action.requests) - len(types))]
    decisions = [
        {"tool_call_id": request["tool_call_id"], "type": kind, **fields}
        for request, kind in zip(action.requests, kinds, strict=True)
    ]
    wish = Wish(decisions=decisions, scope=scope)
    return decide(user=user or action.user, action_id=action.pk, wish=wish, surface="web")


@pytest.fixture
def people(crew: Crew, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> People:
    """People whose sessions keep their files in a folder of this test."""
    monkeypatch.setattr(settings, "DATA_DIR", tmp_path)
    return People(crew)
