"""The public JSON form of the engine's rows, the same on every surface.

Optional keys are absent, never null. Times are ISO 8601 in UTC, ids are strings. ``viewer`` is who is going to see
an object, where that may be somebody who always sees costs.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from django.db.models import QuerySet
from django.utils import timezone

from approvals.objects import action_object
from approvals.selectors import pending_action
from common.prepared import prepared
from copilot import selectors
from copilot.files import clean_name
from copilot.models import File, Message, Preset, Session, Turn, UsageRecord, User
from copilot.providers import pricing, registry
from copilot.providers.base import ModelInfo
from copilot.turns.recover import take_over_on_sight
from copilot.usage.limits import Standing, Usage
from copilot.usage.visibility import shows_cost
from copilot.workspace_files import WorkspaceFile

if TYPE_CHECKING:
    from copilot.turns.cancel import CancelResult
    from copilot.turns.submit import Accepted

Object = dict[str, Any]

#: From the least to the most trustworthy: a sum is as good as its worst part.
_TOKENS = ("input_tokens", "output_tokens", "reasoning_tokens", "cache_read_tokens", "cache_write_tokens")


# --- sessions --------------------------------------------------------------------------------


def session_object(session: Session, *, live: str | None, viewer: User | None = None) -> Object:
    """Return one session; ``live`` is the status of its turn that has not ended, if there is one."""
    shown: Object = {
        "id": str(session.id),
        "title": session.title,
        "title_source": session.title_source,
        "model": session.model or registry.default_model(),
        "instructions": session.instructions,
        "temporary": session.temporary,
        "approval_mode": session.approval_mode,
        "archived": session.archived,
        "revision": session.revision,
        "rewrites": session.rewrites,
        "created_at": _time(session.created_at),
        "updated_at": _time(session.updated_at),
        "usage": {"input_tokens": session.input_tokens, "output_tokens": session.output_tokens},
    }
    if shows_cost(viewer):
        shown["usage"]["cost_microdollars"] = session.cost_microdollars
    if session.parent_id is not None:
        shown["parent"] = str(session.parent_id)
    if session.preset_id:
        shown["preset"] = str(session.preset_id)
    if session.tools is not None:
        shown["tools"] = session.tools
    if live:
        shown["live"] = live
    return shown


def session_objects(sessions: Iterable[Session], viewer: User | None = None) -> list[Object]:
    """Return many sessions, read ``with_live``, without a query."""
    return [session_object(each, live=each.live, viewer=viewer) for each in sessions]  # type: ignore[attr-defined]


def session_snapshot(session: Session, viewer: User | None = None) -> Object:
    """Return the session with its live turn and the messages that wait: what an open page shows around the
    transcript. What is read may be newer than ``revision`` says, never older."""
    turn = selectors.active_turn(session)
    if turn is not None and take_over_on_sight(turn):
        turn = selectors.active_turn(session)
    return {
        **session_object(session, live=turn.status if turn else None, viewer=viewer),
        "active_turn": turn_object(turn, viewer) if turn else None,
        "queued": queued_objects(selectors.queued_of(session)),
    }


def session_detail(session: Session, viewer: User | None = None) -> Object:
    """Return the snapshot with the newest messages: everything that an open page shows."""
    snapshot = session_snapshot(session, viewer)
    page = selectors.messages_page(session)
    return {**snapshot, "messages": message_objects(page.messages, page.branches)}


# --- messages --------------------------------------------------------------------------------


def message_object(message: Message) -> Object:
    """Return one message; a queued one with its place among those that wait."""
    if message.state == Message.State.QUEUED:
        return _queued(message, selectors.position_of(message))
    return _message(message, selectors.branches_of([message]))


def message_objects(messages: Iterable[Message], branches: selectors.Branches | None = None) -> list[Object]:
    """Return messages that have a place in the transcript, with the branches that are known of them; no query."""
    return [_message(message, branches) for message in messages]


def queued_objects(waiting: Iterable[Message]) -> list[Object]:
    """Return all messages that wait in a session, in order, without a query."""
    return [_queued(message, position) for position, message in enumerate(waiting, 1)]


def _message(message: Message, branches: selectors.Branches | None = None) -> Object:
    shown: Object = {
        "id": str(message.id),
        "seq": message.seq,
        "role": message.role,
        "state": message.state,
        "turn": str(message.turn_id) if message.turn_id else None,
        "parts": message.parts,
        "created_at": _time(message.created_at),
    }
    if message.client_id is not None:
        shown["client_id"] = message.client_id
    if message.author:
        shown["author"] = message.author
    if branches and (branch := branches.get(message.pk)):
        siblings = [str(sibling) for sibling in branch.siblings]
        shown["branch"] = {"index": branch.index, "count": branch.count, "siblings": siblings}
    return shown


def _queued(message: Message, position: int) -> Object:
    shown = {**_message(message), "position": position, "held": message.held}
    if message.held_until is not None:
        shown |= {"waiting_for": "limit", "resets_at": _time(message.held_until)}
    return shown


def accepted_object(accepted: Accepted, viewer: User | None = None) -> Object:
    """Return what became of a message that was sent: a turn began, or it waits."""
    if not accepted.queued or accepted.position is None:
        branches = selectors.branches_of([accepted.message]) if accepted.branched else None
        return {
            "queued": False,
            "message": _message(accepted.message, branches),
            "turn": _turn_of_accepted(accepted.turn, accepted, viewer) if accepted.turn else None,
        }
    return {
        "queued": True,
        "message": _queued(accepted.message, accepted.position),
        "position": accepted.position,
        "delivery": accepted.delivery,
        "waiting_for": accepted.waiting_for,
    }


def _turn_of_accepted(turn: Turn, accepted: Accepted, viewer: User | None) -> Object:
    """A turn that began this moment has said and used nothing: there is no need to look."""
    return turn_object(turn, viewer) if accepted.repeated else _turn(turn, accepted.answers, [], viewer)


# --- turns -----------------------------------------------------------------------------------


def turn_object(turn: Turn, viewer: User | None = None) -> Object:
    """Return one turn. While it runs, ``text`` is that of its finished messages; its events have the rest."""
    first_step = turn.is_live and turn.steps == 0
    records = [] if first_step else _records_of(turn.pk)
    return _turn(turn, _settled_messages_of(turn.pk), records, viewer)


@prepared
def _settled_messages_of(turn_id: Any) -> QuerySet[Message]:
    return Message.objects.settled().filter(turn_id=turn_id).order_by("seq")


@prepared
def _records_of(turn_id: Any) -> QuerySet[UsageRecord]:
    return UsageRecord.objects.filter(turn_id=turn_id).order_by("fence", "step")


def _turn(turn: Turn, messages: Sequence[Message], records: Sequence[UsageRecord], viewer: User | None) -> Object:
    written = [message for message in messages if message.role == Message.Role.ASSISTANT]
    shown: Object = {
        "id": str(turn.id),
        "session": str(turn.session_id),
        "status": turn.status,
        "origin": turn.origin,
        "attempt": turn.attempt,
        "created_at": _time(turn.created_at),
        "started_at": _time(turn.started_at),
        "finished_at": _time(turn.finished_at),
        "model": turn.model,
        "message_ids": [str(message.id) for message in messages],
        "text": "".join(message.text for message in written),
        "usage": _usage_of_turn(turn, records, viewer),
    }
    optional = {
        "effort": turn.effort or None,
        "parent": str(turn.parent_id) if turn.parent_id else None,
        "next_turn": str(turn.next_turn_id) if turn.next_turn_id else None,
        "error": turn.public_error(),
        "context": _context(turn),
        "approval": _approval(turn),
    }
    return shown | {key: value for key, value in optional.items() if value is not None}


def _approval(turn: Turn) -> Object | None:
    """What the turn waits for a person to decide."""
    action = pending_action(turn.action_id)
    return action_object(action) if action else None


def _usage_of_turn(turn: Turn, records: Sequence[UsageRecord], viewer: User | None) -> Object:
    usage: Object = {name: sum(getattr(record, name) for record in records) for name in _TOKENS}
    costs = [record.cost_microdollars for record in records if record.cost_microdollars is not None]
    if costs and shows_cost(viewer):
        usage["cost_microdollars"] = sum(costs)
    usage["cost_source"] = pricing.worst_source(record.cost_source for record in records)
    if any(record.estimated for record in records):
        usage["estimated"] = True
    usage["duration_ms"] = _running_ms(turn)
    usage["first_chunk_ms"] = turn.first_chunk_ms
    return usage


def _running_ms(turn: Turn) -> int:
    """Time it ran so far; waiting in the queue or for a person is not running."""
    if turn.status != Turn.Status.RUNNING or turn.claimed_at is None:
        return turn.running_ms
    present = (timezone.now() - turn.claimed_at).total_seconds()
    return turn.running_ms + max(0, round(present * 1000))


def _context(turn: Turn) -> Object | None:
    """How much of the model's window its latest call took; none before there was one."""
    if turn.context_used is None:
        return None
    used: Object = {"used": turn.context_used, "estimated": turn.context_estimated}
    return {**used, "window": turn.context_window} if turn.context_window else used


def cancel_object(result: CancelResult) -> Object:
    """Return what became of a request to stop."""
    answer: Object = {"cancelled": result.cancelled, "confirmed": result.confirmed}
    return answer | ({"turn": str(result.turn)} if result.turn is not None else {})


# --- usage -----------------------------------------------------------------------------------


def usage_object(usage: Usage) -> Object:
    """Return how much of their limits a person has used: shares, never amounts."""
    return {"daily": _share(usage.day), "weekly": _share(usage.week), "tier": usage.tier}


def _share(standing: Standing) -> Object | None:
    if not standing.limit:
        return None
    return {"percent_used": standing.percent_used, "resets_at": _time(standing.window.resets_at)}


# --- presets ---------------------------------------------------------------------------------


def preset_object(preset: Preset) -> Object:
    """Return one preset."""
    shown: Object = {
        "id": str(preset.id),
        "name": preset.name,
        "prompt": preset.prompt,
        "operator": preset.user_id is None,
        "created_at": _time(preset.created_at),
    }
    manner = {"tone": preset.tone, "style": preset.style}
    return shown | {name: text for name, text in manner.items() if text}


# --- models ----------------------------------------------------------------------------------


def model_object(info: ModelInfo) -> Object:
    """Return one model; a price or a context window that nobody knows is null."""
    return asdict(info)


# --- files -----------------------------------------------------------------------------------


def file_object(file: File) -> Object:
    """Return an uploaded file; ``session`` once it belongs to one."""
    shown: Object = {
        "id": str(file.id),
        "name": file.name,
        "type": file.media_type,
        "size": file.size,
        "created_at": _time(file.created_at),
    }
    return shown | ({"session": str(file.session_id)} if file.session_id else {})


def workspace_file_object(file: WorkspaceFile, session_id: uuid.UUID) -> Object:
    """Return a file that a tool left in the workspace of a session; ``path`` is its place in there."""
    return {
        "id": file.id,
        "name": clean_name(file.path),
        "type": file.media_type,
        "size": file.size,
        "created_at": _time(file.changed_at),
        "session": str(session_id),
        "path": file.path,
    }


def _time(value: datetime | None) -> str | None:
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z") if value else None
