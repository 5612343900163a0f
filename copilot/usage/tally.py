"""What counters say beside what they should, which records and live turns add up to; and setting them right."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any

from django.db.models import Count, F, Q, Sum
from django.db.models.functions import Least, TruncDay, TruncWeek

from common.db import transact
from copilot.models import Turn, UsageCounter, UsageRecord
from copilot.usage.counters import Amounts, do_touch
from copilot.usage.windows import Window, windows_of

_NOTHING = Amounts()


@dataclass
class Tally:
    """What one person's counters say, and what they should; nothing where a window is not named."""

    counted: dict[Window, Amounts] = field(default_factory=dict)
    actual: dict[Window, Amounts] = field(default_factory=dict)

    def differences(self) -> Iterator[tuple[Window, Amounts, Amounts]]:
        """Yield each window where the two differ, with what is counted and what should be."""
        for window in sorted(self.counted.keys() | self.actual.keys()):
            counted, actual = self.counted.get(window, _NOTHING), self.actual.get(window, _NOTHING)
            if counted != actual:
                yield window, counted, actual


def tallies(user_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, Tally]:
    """Return the tallies of some people. Call it in a snapshot, or under the locks of the counters."""
    found = {user_id: Tally() for user_id in user_ids}
    counters = UsageCounter.objects.filter(user_id__in=user_ids)
    columns = ("user_id", "window", "starts_on", "used", "unknown", "reserved")
    for user_id, kind, start, *counted in counters.values_list(*columns):
        found[user_id].counted[Window(kind, start)] = Amounts(*counted)
    for (user_id, window), amounts in _actual(user_ids).items():
        found[user_id].actual[window] = amounts
    return found


def _actual(user_ids: Collection[uuid.UUID]) -> dict[tuple[uuid.UUID, Window], Amounts]:
    actual: dict[tuple[uuid.UUID, Window], Amounts] = defaultdict(Amounts)
    for kind, start in (("day", TruncDay), ("week", TruncWeek)):
        records = UsageRecord.objects.filter(user_id__in=user_ids).annotate(start=start("created_at", tzinfo=UTC))
        sums: Any = records.order_by().values_list("user_id", "start")
        unknown = Count("pk", filter=Q(cost_source="unknown"))
        for user_id, begin, used, count in sums.annotate(cost=Sum("cost_microdollars"), unknown=unknown):
            actual[user_id, Window(kind, begin.date())] = Amounts(used or 0, count)
    reserving = Turn.objects.filter(user_id__in=user_ids, reserved__gt=0, finished_at__isnull=True)
    for user_id, created_at, reserved in reserving.values_list("user_id", "created_at", "reserved"):
        for window in windows_of(created_at):
            before = actual[user_id, window]
            actual[user_id, window] = before._replace(reserved=before.reserved + reserved)
    return actual


@transact
def reconcile(user_id: uuid.UUID) -> list[tuple[Window, Amounts, Amounts]]:
    """Make a person's counters say what they should; return where they did not, as ``Tally.differences`` does.

    May run beside workers: whoever counts something meanwhile waits, and adds to what is right by then.
    """
    seen = tallies([user_id])[user_id]
    windows = seen.counted.keys() | seen.actual.keys()
    if not windows:
        return []
    do_touch(user_id, windows)
    # Read again under the locks. Other windows may have come meanwhile, which nobody holds: they are left alone.
    differing = [each for each in tallies([user_id])[user_id].differences() if each[0] in windows]
    for window, _, actual in differing:
        rows = UsageCounter.objects.filter(user_id=user_id, window=window.kind, starts_on=window.starts_on)
        rows.update(**actual._asdict(), forgiven=Least(F("forgiven"), actual.used))
    return differing
