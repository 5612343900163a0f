"""A turn's history as the lines that a terminal shows."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import datetime

from copilot.diagnostics.timeline import Entry, Events, in_utc, timeline


def explain(turn_id: uuid.UUID, *, events: bool = False, text: bool = False) -> list[str] | None:
    """Return the lines that tell a turn's history; None when there is no such turn.

    Args:
        events: list every event instead of their number by type.
        text: show the beginnings of what was said, called and returned too.
    """
    found = timeline(turn_id, events=events, text=text)
    if found is None:
        return None
    turn = found.turn
    return [
        f"Turn {turn.pk}: {turn.status}" + (f" ({turn.outcome})" if turn.outcome else ""),
        *(f"  {name:<9} {what}" for name, what in found.about),
        "",
        f"History (seconds since {in_utc(turn.created_at)}):",
        *(_line(entry, turn.created_at) for entry in found.entries),
        "",
        *(_every_event(found.events) if events else _summary(found.events)),
    ]


def _line(entry: Entry, since: datetime) -> str:
    return f"  {(entry.at - since).total_seconds():>9.3f}  {entry.kind:<9}  {entry.what}"


def _summary(events: Events) -> Iterator[str]:
    if not events.count:
        yield "Events: none."
        return
    pruned = f" (the {events.pruned} before them were pruned)" if events.pruned else ""
    yield f"Events: {events.count}, from {events.first} to {events.last}{pruned}."
    yield f"  {events.by_kind}"


def _every_event(events: Events) -> Iterator[str]:
    yield f"Events: {len(events.listed)}."
    for seq, what in events.listed:
        yield f"  {seq:>6}  {what}"
