"""Turns of a real server that wait for a person: what is asked, deciding it, and what became of it."""

from __future__ import annotations

import json
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from typing import Any

import httpx2

from tests.process.clients import Rest, Row, eventually
from tests.process.servers import ScaledStack, Stack

Approval = dict[str, Any]


def tool(name: str, **arguments: Any) -> str:
    """Return the line of a message that makes the model call a tool."""
    return f"/tool {name} {json.dumps(arguments)}"


def lines(stack: Stack, session: str, name: str = "notes.txt") -> list[str]:
    """Return what tools wrote into a file of a session: what really happened."""
    file = stack.data_dir / "workspaces" / session / name
    return file.read_text().splitlines() if file.exists() else []


async def asked(rest: Rest, turn: str, seconds: float = 30) -> Approval:
    """Wait until a turn waits for a decision, whatever becomes of the server meanwhile; return what is asked."""

    async def waits() -> Approval | None:
        try:
            found = await rest.get(f"turns/{turn}", wait=2)
        except httpx2.TransportError:
            return None
        assert found["status"] in ("queued", "running", "requires_action"), found
        return dict(found["approval"]) if found["status"] == "requires_action" else None

    return dict(await eventually("question", waits, seconds))


def decisions(approval: Approval, choose: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    """Return the body that decides each call as ``choose`` says, which is given the call's text."""
    return {
        "decisions": [
            {"tool_call_id": request["tool_call_id"], **choose(request["arguments"]["text"])}
            for request in approval["requests"]
        ]
    }


async def decide(rest: Rest, approval: Approval, body: dict[str, Any], *, port: int = 0) -> httpx2.Response:
    """Decide; ``port`` names the web process, none: that of ``rest``."""
    host = f"http://127.0.0.1:{port}/api/v1/" if port else ""
    return await rest.http.post(f"{host}approvals/{approval['id']}/decide", json=body)


async def decide_until_answered(rest: Rest, approval: Approval, body: dict[str, Any]) -> httpx2.Response:
    """Decide as often as it takes to be answered, as somebody does whose answers get lost."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return await decide(rest, approval, body)
        except httpx2.TransportError:
            assert time.monotonic() < deadline, "nobody answered"


def query(stack: Stack, sql: str, *arguments: str) -> list[tuple[Any, ...]]:
    """Read rows of the server's database; ``?`` stands for an id."""
    if isinstance(stack, ScaledStack):
        return stack.query(sql.replace("?", "%s"), *arguments)
    bare = [argument.replace("-", "") for argument in arguments]
    with closing(sqlite3.connect(f"file:{stack.data_dir}/holdfast.sqlite3?mode=ro", uri=True)) as connection:
        return connection.execute(sql, bare).fetchall()


def audited(stack: Stack, approval: Approval) -> list[str]:
    """Return what the audit log says became of an action, an entry for each decided call."""
    sql = "SELECT event FROM approvals_auditentry WHERE action = ? ORDER BY event"
    return [event for (event,) in query(stack, sql, approval["id"])]


def journal(stack: Stack, turn: str) -> Counter[str]:
    """Count the transitions of a turn, by kind."""
    return Counter(kind for (kind,) in query(stack, "SELECT kind FROM copilot_turnlog WHERE turn_id = ?", turn))


def kinds(rows: list[Row]) -> Counter[str]:
    """Count the chunks of a log, by type."""
    return Counter(chunk["type"] for _, chunk in rows)


def calls(messages: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the tool calls that a transcript shows, by their text."""
    parts = [part for message in messages for part in message["parts"]]
    return {part["input"]["text"]: part for part in parts if part["type"] == "dynamic-tool"}
