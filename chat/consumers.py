"""The websockets of the contract: one session, and the list of a person's sessions."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

from chat.api.parsing import check
from chat.api.serializers import SendBody
from chat.following import SessionFollower
from chat.sockets import Socket
from common.db import db
from common.errors import Invalid, NotFound
from common.ids import as_uuid
from copilot import objects, selectors
from copilot.events.publish import session_group, user_group
from copilot.models import Session
from copilot.turns.cancel import cancel_turn
from copilot.turns.submit import submit_message

#: How many sessions the list's socket keeps in step.
SESSIONS_WATCHED = 100


class SessionConsumer(Socket):
    """One session: snapshots on every change, the events of its turns, and what the person does."""

    async def open(self) -> None:
        self.session_id: uuid.UUID = self.scope["url_route"]["kwargs"]["session_id"]
        await db(selectors.session_of, self.caller.user, self.session_id)
        self._revision = 0
        self._follower: SessionFollower | None = None
        self._following: asyncio.Task[None] | None = None
        self.group = session_group(self.session_id)

    def hint(self) -> None:
        """A turn may have begun: look for it at once, and for everything else soon."""
        if self._follower is not None:
            self._follower.look_for_turns()
        super().hint()

    async def look(self) -> None:
        """Send a snapshot when the session has a newer revision than the last one sent."""
        revision, snapshot = await db(self._read, self._revision, pool="follow")
        if snapshot is None:
            return
        if self._follower is not None:
            self._follower.look_for_turns()
            if snapshot["active_turn"] is None:
                await self._follower.caught_up()  # the terminal event comes first
        self._revision = revision
        await self.push({"type": "session", **snapshot})

    def _read(self, seen: int) -> tuple[int, dict[str, Any] | None]:
        session: Session = selectors.session_of(self.caller.user, self.session_id)
        if session.revision <= seen:
            return seen, None
        return session.revision, objects.session_snapshot(session)

    async def take(self, frame: dict[str, Any]) -> None:
        match frame["type"]:
            case "follow":
                await self._follow(frame)
            case "send":
                await self._send_message(frame)
            case "cancel":
                _ = self.spawn(self._cancel(frame))
            case "decide":
                raise NotFound
            case unknown:
                raise Invalid(f"There is no frame of type {unknown[:40]!r}.")

    async def _follow(self, frame: dict[str, Any]) -> None:
        after = frame.get("after", 0)
        if not isinstance(after, int) or isinstance(after, bool) or not 0 <= after < 2**31:
            raise Invalid("after must be a seq: a whole number from 0.", after="invalid")
        turn = None
        if frame.get("turn") is not None:
            turn = await db(selectors.turn_of, self.caller.user, frame["turn"])
            if turn.session_id != self.session_id:
                raise NotFound
        if self._following is not None:
            self._following.cancel()
        self._follower = SessionFollower(self.session_id, self.push, html=bool(frame.get("html")))
        self._following = self.spawn(self._follower.run(turn.id if turn else None, after))

    async def _send_message(self, frame: dict[str, Any]) -> None:
        fields = check(SendBody, {key: value for key, value in frame.items() if key != "type"})
        answer = await db(self._submit, fields)
        await self.acknowledge(frame, answer)

    def _submit(self, fields: dict[str, Any]) -> dict[str, Any]:
        origin = "web" if self.caller.scopes is None else "key"
        accepted = submit_message(user=self.caller.user, session_id=self.session_id, origin=origin, **fields)
        return objects.accepted_object(accepted)

    async def _cancel(self, frame: dict[str, Any]) -> None:
        turn_id = frame.get("turn")
        if turn_id is not None and as_uuid(turn_id) is None:
            return await self.refuse(NotFound(), frame.get("client_id"))
        try:
            result = await cancel_turn(user=self.caller.user, session_id=self.session_id, turn_id=turn_id)
        except NotFound as error:
            return await self.refuse(error, frame.get("client_id"))
        answer = {"cancelled": result.cancelled, "confirmed": result.confirmed}
        about = {"turn": str(result.turn)} if result.turn else {}
        await self.acknowledge(frame, {**answer, **about})
        return None


class UserConsumer(Socket):
    """A person's sessions: which of them changed."""

    async def open(self) -> None:
        self._seen: dict[str, int] | None = None
        self.group = user_group(self.caller.user.pk)

    async def look(self) -> None:
        """Send the sessions whose revision grew since the last look; on connect, none."""
        rows = await db(self._read)
        before, self._seen = self._seen, {row["id"]: row["revision"] for row in rows}
        if before is None:
            return
        changed = [row for row in rows if before.get(row["id"]) != row["revision"]]
        if changed:
            newest = max(row["revision"] for row in changed)
            await self.push({"type": "sessions", "changed": changed, "revision": newest})

    def _read(self) -> list[dict[str, Any]]:
        sessions = selectors.sessions_of(self.caller.user)[:SESSIONS_WATCHED]
        return [
            {
                "id": str(session.id),
                "title": session.title,
                "revision": session.revision,
                "updated_at": session.updated_at.isoformat(),
            }
            for session in sessions
        ]

    async def take(self, frame: dict[str, Any]) -> None:
        raise Invalid("This socket only tells; it understands ping.")
