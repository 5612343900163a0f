"""What stands beside every page: the person's chats, and how many decisions wait for them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.http import HttpRequest
from django.utils import timezone
from django.utils.functional import SimpleLazyObject

from approvals.selectors import waiting_count
from copilot import selectors
from copilot.models import Session, User

#: Sessions in the sidebar.
LISTED = 100


def around_pages(request: HttpRequest) -> dict[str, Any]:
    """Give templates the sessions and the count (a context processor); a page that shows neither reads nothing."""
    return {
        "groups": SimpleLazyObject(lambda: _groups(request.user)),
        "decisions_waiting": SimpleLazyObject(lambda: _decisions_waiting(request.user)),
    }


def _decisions_waiting(user: Any) -> int:
    return waiting_count(user) if user.is_authenticated else 0


@dataclass(frozen=True, slots=True)
class Group:
    """Sessions of about the same age."""

    label: str
    sessions: list[Session] = field(default_factory=list)


def _groups(user: Any) -> list[Group]:
    return groups_of(user) if user.is_authenticated else []


def groups_of(user: User) -> list[Group]:
    """Return the newest sessions, grouped by the day of their last activity where the person lives."""
    zone = zone_of(user.time_zone)
    today = timezone.now().astimezone(zone).date()
    groups: list[Group] = []
    for session in selectors.sessions_of(user).with_live()[:LISTED]:
        label = _age(session.updated_at, today, zone)
        if not groups or groups[-1].label != label:
            groups.append(Group(label))
        groups[-1].sessions.append(session)
    return groups


def zone_of(name: str) -> tzinfo:
    """Return the time zone of this name, UTC where there is none."""
    try:
        return ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")


def _age(moment: datetime, today: date, zone: tzinfo) -> str:
    days = (today - moment.astimezone(zone).date()).days
    for bound, label in ((0, "Today"), (1, "Yesterday"), (7, "Last 7 days"), (30, "Last 30 days")):
        if days <= bound:
            return label
    return f"{moment.astimezone(zone):%B %Y}"
