"""Runs inside ``manage.py shell`` of a server under test: makes many waiting turns of one, times the sweep."""

from __future__ import annotations

import json
import time
import uuid
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from django.db import connection, transaction
from django.db.models import Model

from approvals.models import Action
from bench.stats import in_ms
from common.ids import new_id
from copilot.models import Message, Step, ToolCall, Turn, TurnEvent, TurnLog, UsageRecord, User
from copilot.sweep import RULES, sweep

#: Turns that are written in one transaction.
_AT_ONCE = 500


def fill(turn_id: str, count: int, mine: int, people: int = 100) -> None:
    """Copy a waiting turn ``count`` times, each into a session of its own with all that belongs to it.

    The first ``mine`` belong to the person of the original, the others to ``people`` others in turn.
    """
    original = _rows_of(uuid.UUID(turn_id))
    owner = Turn.objects.get(pk=turn_id).user_id
    others = [User.objects.create_user(f"waiting{number}").pk for number in range(people)]
    for first in range(0, count, _AT_ONCE):
        copies: dict[type[Model], list[Model]] = defaultdict(list)
        for number in range(first, min(first + _AT_ONCE, count)):
            user = owner if number < mine else others[number % people]
            for row in _copy(original, {owner: user}):
                copies[type(row)].append(row)
        with transaction.atomic():
            for model, rows in copies.items():
                model._default_manager.bulk_create(rows, batch_size=_AT_ONCE)
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")  # as the server does by itself within a minute or two
    print(count)


def _rows_of(turn_id: uuid.UUID) -> list[Model]:
    """Return all rows that belong to a turn, those first that others refer to."""
    turn = Turn.objects.get(pk=turn_id)
    rows: list[Model] = [turn.session, turn]
    for model in (Message, Step, ToolCall, TurnEvent, TurnLog, UsageRecord):
        rows += model._default_manager.filter(turn_id=turn_id).order_by("pk")
    return [*rows, *Action.objects.filter(turn=turn_id)]


def _copy(rows: list[Model], ids: dict[Any, uuid.UUID]) -> list[Model]:
    """Return unsaved copies with ids of their own, also where one row speaks of another."""
    ids |= {row.pk: new_id() for row in rows if isinstance(row.pk, uuid.UUID)}

    def own(value: Any) -> Any:
        if isinstance(value, uuid.UUID):
            return ids.get(value, value)
        if isinstance(value, dict | list):
            text = json.dumps(value)
            for old, new in ids.items():
                text = text.replace(str(old), str(new))
            return json.loads(text)
        return value

    copies = []
    for row in rows:
        fields = [field for field in row._meta.concrete_fields if field.get_internal_type() != "BigAutoField"]
        copies.append(type(row)(**{field.attname: own(getattr(row, field.attname)) for field in fields}))
    return copies


def time_sweep(passes: int) -> None:
    """Print how long passes take, the usual ones and those with all rules, and each rule; nobody else sweeps."""
    usual = [rule for rule in RULES if rule.every == 1]
    rules = {rule.name: round(_seconds(rule.act) * 1000, 2) for rule in RULES}
    found = {
        "usual_ms": in_ms([_seconds(lambda: sweep(usual)) for _ in range(passes)]),
        "all_ms": in_ms([_seconds(sweep) for _ in range(passes)]),
    }
    print(json.dumps({**found, "rules_ms": rules}))


def _seconds(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def pending(username: str, count: int) -> None:
    """Print what a person may decide: for each action its id, its turn and the ids of its calls."""
    actions = Action.objects.live().filter(user__username=username).order_by("pk")[:count]
    found = [[str(each.pk), str(each.turn), [r["tool_call_id"] for r in each.requests]] for each in actions]
    print(json.dumps(found))


def claims(turn_ids: list[str]) -> None:
    """Print when turns were queued and claimed for the last time, in seconds of the epoch, by their ids."""
    turns = Turn.objects.filter(pk__in=turn_ids)
    print(json.dumps({str(turn.pk): [turn.queued_at.timestamp(), turn.claimed_at.timestamp()] for turn in turns}))
