"""What the server spent, for operators: a page in the admin, and its tables as files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.views.decorators.http import require_safe

from copilot.operators.csv_files import Cell, csv_response
from copilot.operators.usage_form import RECENT, SelectionForm
from copilot.usage.shown import shown_charts, shown_spent, shown_table
from copilot.usage.spend import Line, Period, Selection, by_day_and_model, by_person, top

#: Lines of a table on the page; files have all of them.
SHOWN = 20

_COLUMNS = (
    "calls",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "microdollars",
    "unknown",
    "estimated",
)
#: How a table's file names what a line is about, and the figures.
_KEYS = {"people": ("user_id", "user"), "models": ("model",), "days": ("day",)}
_FIGURES = (
    "calls",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cost_microdollars",
    "calls_of_unknown_cost",
    "calls_with_estimated_tokens",
)


@require_safe
def usage_page(request: HttpRequest) -> HttpResponse:
    """Show what was spent in a period, by person, model and day; a wrong address shows what is wrong with it."""
    _require_permission(request)
    form = SelectionForm(request.GET)
    context: dict[str, Any] = {**admin.site.each_context(request), "title": "Usage", "recent": RECENT}
    if not form.is_valid():
        return render(request, "admin/copilot/usage.html", {**context, "form": form}, status=400)
    selection = form.selection()
    found = by_day_and_model(selection)
    days = found.days()
    context |= {
        "form": _filled(request, selection),
        "selection": selection,
        "recent_days": next((days for days in RECENT if selection.period == Period.of_days(days)), None),
        "total": shown_spent(found.total),
        "charts": shown_charts(selection.period, days),
        "tables": [
            shown_table("people", "By person", "Person", top(by_person(selection), SHOWN)),
            shown_table("models", "By model", "Model", top(found.models(), SHOWN)),
            shown_table("days", "By day", "Day (UTC)", top(days, len(days))),
        ],
        "others": _query(request, without=("days", "since", "until")),
        "query": _query(request),
    }
    return render(request, "admin/copilot/usage.html", context)


@require_safe
def usage_file(request: HttpRequest, table: str) -> HttpResponseBase:
    """Answer with one of the tables, whole, as a file."""
    _require_permission(request)
    form = SelectionForm(request.GET)
    if table not in _KEYS or not form.is_valid():
        raise Http404
    selection = form.selection()
    lines = by_person(selection) if table == "people" else _lines(table, selection)
    name = f"usage-{table}-{selection.period.first}-{selection.period.last}.csv"
    return csv_response(name, (*_KEYS[table], *_FIGURES), _rows(table, lines))


def _lines(table: str, selection: Selection) -> list[Line]:
    found = by_day_and_model(selection)
    return found.models() if table == "models" else found.days()


def _rows(table: str, lines: Iterable[Line]) -> Iterator[Sequence[Cell]]:
    for line in lines:
        about = (line.key, line.label) if table == "people" else (line.label,)
        yield (*about, *(getattr(line.spent, name) for name in _COLUMNS))


def _filled(request: HttpRequest, selection: Selection) -> SelectionForm:
    """The form as it stands on the page: with the days that are looked at."""
    about = {"since": selection.period.first, "until": selection.period.last}
    return SelectionForm(initial={**about, "user": request.GET.get("user"), "model": request.GET.get("model")})


def _query(request: HttpRequest, without: Sequence[str] = ()) -> str:
    query = request.GET.copy()
    for name in without:
        query.pop(name, None)
    return query.urlencode()


def _require_permission(request: HttpRequest) -> None:
    if not request.user.has_perm("copilot.view_usagerecord"):
        raise PermissionDenied
