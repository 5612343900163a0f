"""What is kept for so many days and no longer. Each rule removes a little of what is oldest, time and again.

``docs/retention.md`` names everything that is kept, for how long, and which setting says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from itertools import islice

from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.contrib.sessions.models import Session as Login
from django.db.models import Q
from django.utils import timezone

from approvals import audit
from common.ages import end_of_keeping, oldest_before
from common.db import transact
from common.ids import as_uuid
from copilot.files import LEFTOVER_SECONDS
from copilot.models import OperatorEntry, Session, Turn, UsageCounter, UsageRecord
from copilot.usage.keeping import usage_end
from copilot.workspaces import remove_workspace, workspaces_before

#: Rows that a rule removes at once.
BATCH = 1000
#: Sums, which a key of three columns names: SQLite has but a thousand levels for what joins the keys.
SUMS_AT_ONCE = 200
#: Folders that are compared with the sessions at once.
FOLDERS_AT_ONCE = 200


def old_usage() -> int:
    """Usage of weeks that ended USAGE_RETENTION_DAYS ago; what belongs to a live turn stays."""
    end = usage_end()
    # The sums first: none is there whose records are gone.
    return 0 if end is None else _old_counters(end) or _old_records(end)


@transact
def _old_counters(end: datetime) -> int:
    old = UsageCounter.objects.filter(starts_on__lt=end.date(), reserved=0).order_by("starts_on")
    due = list(old.values_list("pk", flat=True)[:SUMS_AT_ONCE])
    return UsageCounter.objects.filter(pk__in=due).delete()[0] if due else 0


@transact
def _old_records(end: datetime) -> int:
    due = oldest_before(UsageRecord.objects.all(), end, moment="created_at", most=BATCH)
    if not due:
        return 0
    spared = list(Turn.objects.live().filter(usage_records__in=due).values_list("pk", flat=True))
    records = UsageRecord.objects.filter(Q(turn__isnull=True) | ~Q(turn__in=spared), pk__in=due)
    return records.delete()[0]


def old_approval_log() -> int:
    """Entries of the log of approvals that are older than AUDIT_RETENTION_DAYS."""
    return audit.forget_old(BATCH)


@transact
def old_operator_log() -> int:
    """Entries about what operators did that are older than AUDIT_RETENTION_DAYS."""
    end = end_of_keeping(settings.AUDIT_RETENTION_DAYS)
    due = oldest_before(OperatorEntry.objects.all(), end, moment="at", most=BATCH)
    # Past the model's own refusal: entries are final to everybody else.
    return OperatorEntry._base_manager.filter(pk__in=due).delete()[0] if due else 0


@transact
def old_admin_log() -> int:
    """Entries of the admin's own log that are older than AUDIT_RETENTION_DAYS."""
    end = end_of_keeping(settings.AUDIT_RETENTION_DAYS)
    due = oldest_before(LogEntry.objects.all(), end, moment="action_time", most=BATCH)
    return LogEntry.objects.filter(pk__in=due).delete()[0] if due else 0


@transact
def ended_logins() -> int:
    """Logins whose time is over."""
    over = Login.objects.filter(expire_date__lt=timezone.now()).order_by("expire_date")
    due = list(over.values_list("pk", flat=True)[:BATCH])
    return Login.objects.filter(pk__in=due).delete()[0] if due else 0


def leftover_workspaces(seconds: float = LEFTOVER_SECONDS) -> int:
    """Files of tools whose sessions are gone, where they could not be removed with them."""
    removed = 0
    old = workspaces_before(time.time() - seconds)
    while names := list(islice(old, FOLDERS_AT_ONCE)):
        ids = [session_id for name in names if (session_id := as_uuid(name))]
        known = set(Session.objects.filter(pk__in=ids).values_list("pk", flat=True))
        for session_id in ids:
            if session_id not in known:
                remove_workspace(session_id)
                removed += 1
    return removed


RULES: tuple[Callable[[], int], ...] = (old_usage, old_approval_log, old_operator_log, old_admin_log, ended_logins)
