"""The admin's page of diagnostics: one measurement as figures, charts and a table of workers."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.defaultfilters import filesizeformat
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.http import require_safe

from copilot.diagnostics.categories import CATEGORIES
from copilot.diagnostics.metrics import Metrics, measure
from copilot.operators.charts import Chart, chart
from copilot.operators.signs import signs

#: Categories of which even one turn is worth a look.
_ATTENTION = ("orphaned", "failed", "long_running", "stuck_queued", "invalid")


@dataclass(frozen=True, slots=True)
class Card:
    """A category with its number and the list of its turns."""

    title: str
    meaning: str
    count: str
    url: str
    attention: bool


@dataclass(frozen=True, slots=True)
class Figure:
    """A number with its name, and what there is to know about it."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """Figures that belong together."""

    title: str
    figures: list[Figure]


@require_safe
def diagnostics_page(request: HttpRequest) -> HttpResponse:
    """Show one measurement, to staff who may see turns. Goes inside ``admin_view``, which lets nobody else in."""
    if not request.user.has_perm("copilot.view_turn"):
        raise PermissionDenied
    measured = measure()
    context = {
        **admin.site.each_context(request),
        "title": "Diagnostics",
        "measured": measured,
        "warnings": signs(measured),
        "categories": _cards(measured),
        "charts": _charts(measured),
        "sections": [_queue(measured), _ended(measured), _use(measured)],
    }
    return TemplateResponse(request, "admin/diagnostics.html", context)


def _cards(measured: Metrics) -> list[Card]:
    turns = reverse("admin:copilot_turn_changelist")
    return [
        Card(
            title=category.title,
            meaning=category.meaning,
            count=f"{measured.counts[name]:,}",
            url=f"{turns}?{urlencode({'category': name})}",
            attention=name in _ATTENTION and measured.counts[name] > 0,
        )
        for name, category in CATEGORIES.items()
    ]


def _charts(measured: Metrics) -> list[Chart]:
    return [
        chart("Completed", [(hour.at, hour.completed) for hour in measured.series]),
        chart("Failed", [(hour.at, hour.failed) for hour in measured.series]),
    ]


def _queue(measured: Metrics) -> Section:
    depth, lag = measured.broker_queue_depth, measured.dispatch_lag
    figures = [
        Figure("Queued", f"{measured.counts['queued']:,}", "turns, as the database has them"),
        Figure("In the broker", "unknown" if depth is None else f"{depth:,}", "hints to start turns"),
        Figure("Never started", f"{measured.never_started:,}", "queued, and no worker has held them yet"),
        Figure("Stops not confirmed", f"{measured.stop_unconfirmed:,}", "asked to stop, and not ended"),
        Figure("Stranded messages", f"{measured.stranded_messages:,}", "wait for a turn where none is live"),
    ]
    if lag is None:
        figures.append(Figure("From queue to worker", "unknown", "nothing was claimed yet"))
    else:
        note = f"the median; {lag.p99_ms:,.0f} ms the 99th percentile, of the last {lag.claims} claims"
        figures.append(Figure("From queue to worker", f"{lag.p50_ms:,.0f} ms", note))
    return Section("Queue", figures)


def _ended(measured: Metrics) -> Section:
    completed, failed = measured.completed, measured.failed
    return Section(
        "Ended",
        [
            Figure("Completed in the last hour", f"{completed.hour:,}"),
            Figure("Completed in 24 hours", f"{completed.day:,}", f"{completed.per_hour:,.2f} an hour"),
            Figure("Failed in the last hour", f"{failed.hour:,}"),
            Figure("Failed in 24 hours", f"{failed.day:,}", f"{failed.per_hour:,.2f} an hour"),
        ],
    )


def _use(measured: Metrics) -> Section:
    oldest, rows = measured.oldest_running_seconds, measured.log.rows
    return Section(
        "In use",
        [
            Figure("Active sessions", f"{measured.active_sessions:,}", "with a turn that runs or is queued"),
            Figure("Active people", f"{measured.active_users:,}", "whose sessions these are"),
            Figure("Oldest running turn", "none" if oldest is None else _long(oldest), "pauses not counted"),
            Figure("Event log", filesizeformat(measured.log.bytes), "estimated"),
            Figure("Events", "unknown" if rows is None else f"{rows:,}", "estimated"),
        ],
    )


def _long(seconds: float) -> str:
    """Write down how long something takes, in the largest units that say something."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    hours, minutes = divmod(int(seconds) // 60, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
