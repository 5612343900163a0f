"""The page on which people see what they used: how much of their limits, or what it cost if they may know."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from chat.sidebar import zone_of
from copilot.models import User
from copilot.usage.limits import Standing, usage_of
from copilot.usage.shown import shown_charts, shown_spent, shown_table
from copilot.usage.spend import Period, Selection, by_day_and_model, top
from copilot.usage.visibility import shows_cost

#: Days of one's own spending that are shown, and models.
DAYS = 30
MODELS = 20


@dataclass(frozen=True, slots=True)
class ShownWindow:
    """One limit: how much of it is used, and until when it counts, where the person lives."""

    name: str
    percent: float
    is_over: bool
    resets_at: datetime


@require_GET
@login_required
@never_cache
def usage(request: HttpRequest) -> HttpResponse:
    """Show the person's share of their limits, and what they spent where they may see amounts of money."""
    user = request.user
    assert isinstance(user, User)  # noqa: S101 - the page is behind login_required
    found = usage_of(user.pk)
    windows = [_shown(standing, user) for standing in found.windows if standing.limit]
    context = {"usage_page": True, "zone": user.time_zone, "windows": windows, "tier": found.tier}
    if shows_cost(user):
        context |= _spending(user)
    return render(request, "usage.html", context)


def _shown(standing: Standing, user: User) -> ShownWindow:
    """Return a limit in words, without an amount."""
    window = standing.window
    return ShownWindow(
        name={"day": "Today", "week": "This week"}[window.kind],
        percent=standing.percent_used,
        is_over=not standing.has_room(),
        resets_at=window.resets_at.astimezone(zone_of(user.time_zone)),
    )


def _spending(user: User) -> dict[str, Any]:
    selection = Selection(Period.of_days(DAYS), user_id=user.pk)
    found = by_day_and_model(selection)
    days = found.days()
    tables = [
        shown_table("models", "By model", "Model", top(found.models(), MODELS)),
        shown_table("days", "By day", "Day (UTC)", top(days, len(days))),
    ]
    return {
        "selection": selection,
        "spent": shown_spent(found.total),
        "charts": shown_charts(selection.period, days),
        "tables": tables,
    }
