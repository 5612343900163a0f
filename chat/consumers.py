"""The websockets of the contract: one session, and the list of a person's sessions."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

from approvals.actions import decide
from approvals.api.bodies import DecideBody, wish_of
from approvals.objects import action_object
from approvals.reach import note_in_front
from approvals.selectors import Waiting, waiting_of
from chat.api.parsing import check
from chat.api.serializers import SendBody
from chat.following import SessionFollower
from chat.sockets import Socket
from common.db import db
from common.errors import Invalid, NotFound
from common.ids import as_uuid
from common.rest import surface_of
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
        return session.revision, objects.session_snapshot(session, self.caller.user)

    async def take(self, frame: dict[str, Any]) -> None:
        match frame["type"]:
            case "follow":
                await self._follow(frame)
            case "send":
                await self._send_message(frame)
            case "cancel":
                _ = self.spawn(self._cancel(frame))
            case "decide":
                await self._decide(frame)
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
        return objects.accepted_object(accepted, self.caller.user)

    async def _decide(self, frame: dict[str, Any]) -> None:
        self.caller.require("approve")
        action_id = frame.get("approval")
        fields = check(DecideBody, {key: value for key, value in frame.items() if key not in ("type", "approval")})
        decided = await db(
            decide,
            user=self.caller.user,
            action_id=action_id,
            wish=wish_of(fields),
            surface=surface_of(self.caller),
        )
        await self.acknowledge(frame, {"approval": action_object(decided)})

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


Row = dict[str, Any]


class UserConsumer(Socket):
    """A person's sessions: which of them changed; and how many decisions wait for the person.

    Pages say here that they are in front.
    """

    async def open(self) -> None:
        self._rows: dict[str, Row] | None = None
        self._waiting: Waiting | None = None
        self.group = user_group(self.caller.user.pk)

    async def look(self) -> None:
        """Send what changed since the last look; on connect no session, and in any case how much waits."""
        rows, waiting = await db(lambda: (self._read(), waiting_of(self.caller.user)), pool="follow")
        before, self._rows = self._rows, rows
        await self._tell_waiting(waiting)
        if before is not None:
            changed = [row for key, row in rows.items() if before.get(key) != row]
            await self._tell_sessions(changed, gone=[key for key in before if key not in rows])

    async def _tell_waiting(self, waiting: Waiting) -> None:
        before, self._waiting = self._waiting, waiting
        if before is None or (before.pending, before.newest) != (waiting.pending, waiting.newest):
            await self.push({"type": "approvals", "pending": waiting.pending, "revision": waiting.revision})

    async def _tell_sessions(self, changed: list[Row], *, gone: list[str]) -> None:
        if changed or gone:
            newest = max((row["revision"] for row in changed), default=0)
            about = {"gone": gone} if gone else {}
            await self.push({"type": "sessions", "changed": changed, "revision": newest, **about})

    def _read(self) -> dict[str, Row]:
        sessions = selectors.sessions_of(self.caller.user).with_live()[:SESSIONS_WATCHED]
        return {str(row["id"]): _row(row) for row in sessions.values(*_ROW)}

    async def take(self, frame: dict[str, Any]) -> None:
        match frame["type"]:
            case "known":
                await self._catch_up(frame)
            case "front":
                await db(note_in_front, self.caller.user.pk)
            case unknown:
                raise Invalid(f"There is no frame of type {unknown[:40]!r} here.")

    async def _catch_up(self, frame: dict[str, Any]) -> None:
        """Send what a page that shows these revisions of sessions does not know yet."""
        known = frame.get("sessions")
        if not isinstance(known, dict):
            raise Invalid(
                "sessions must be the revisions that are known, by the sessions' ids.", sessions="invalid"
            )
        rows = await db(self._read, pool="follow")
        changed = [row for key, row in rows.items() if known.get(key) != row["revision"]]
        await self._tell_sessions(changed, gone=[key for key in known if key not in rows])


_ROW = ("id", "title", "revision", "updated_at", "live")


def _row(columns: dict[str, Any]) -> Row:
    shown = {**columns, "id": str(columns["id"]), "updated_at": columns["updated_at"].isoformat()}
    return {name: value for name, value in shown.items() if value is not None}
