"""The admin's page of one turn's history: what ``manage.py explain_turn`` prints, drawn on a scale of time."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime

from django.contrib import admin
from django.core.exceptions import BadRequest, PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html

from common.admin import ReadOnlyAdmin
from common.errors import Invalid
from common.paging import number
from copilot.diagnostics.timeline import Entry, Timeline, timeline
from copilot.models import Turn, User
from copilot.operators.audit import record

#: Events on one page.
EVENTS = 500
#: The length of the scale, in units of the drawing, and what the shortest bar is drawn with.
_SCALE = 1000
_LEAST = 4


@dataclass(frozen=True, slots=True)
class Row:
    """An entry with its place on the scale."""

    kind: str
    what: str
    #: Seconds since the turn was submitted, and how many of them this took; written out.
    at: str
    took: str
    spent: str
    x: int
    width: int


class TimelineAdmin(ReadOnlyAdmin):
    """Turns, each with a page of its history."""

    def get_urls(self) -> list[URLPattern]:
        """Put the page before Django's own, which take any path for an id."""
        page = self.admin_site.admin_view(self.timeline_view)
        return [path("<uuid:turn_id>/timeline/", page, name="copilot_turn_timeline"), *super().get_urls()]

    @admin.display(description="timeline")
    def to_timeline(self, turn: Turn) -> str:
        """A link to the page."""
        return format_html('<a href="{}">Timeline</a>', reverse("admin:copilot_turn_timeline", args=[turn.pk]))

    def timeline_view(self, request: HttpRequest, turn_id: uuid.UUID) -> HttpResponse:
        """Show a turn's history; with ``events=1`` its events too, those above ``after``.

        What was said is shown with ``text=1``, to superusers only, and each such look is recorded.
        """
        if not self.has_view_permission(request):
            raise PermissionDenied
        text = request.GET.get("text") == "1"
        if text and not (isinstance(request.user, User) and request.user.is_superuser):
            raise PermissionDenied
        events = request.GET.get("events") == "1"
        try:
            after = number(request.GET, "after", default=0) or 0
        except Invalid as error:
            raise BadRequest(str(error)) from error
        found = timeline(turn_id, text=text, events=events, after=after, limit=EVENTS)
        if found is None:
            raise Http404(f"There is no turn {turn_id}.")
        if text:
            _record_look(request, found)
        context = {
            **self.admin_site.each_context(request),
            "title": "Timeline",
            "subtitle": str(turn_id),
            "opts": self.opts,
            "found": found,
            "rows": rows_of(found),
            "text": text,
            "events": events,
            "more_after": _more_after(found),
        }
        return TemplateResponse(request, "admin/copilot/turn/timeline.html", context)


def _record_look(request: HttpRequest, found: Timeline) -> None:
    assert isinstance(request.user, User)  # noqa: S101 - only they get here
    data = {"turns": [str(found.turn.pk)]}
    record(request.user, "read_text", target_user=found.turn.user, requested=1, affected=1, data=data)


def _more_after(found: Timeline) -> int | None:
    """The last event on this page, if there are more."""
    last = found.events.listed[-1][0] if found.events.listed else None
    return last if last is not None and last < found.events.last else None


def rows_of(found: Timeline) -> list[Row]:
    """Place the entries on a scale from the turn's beginning to the last thing that happened to it."""
    begin = found.turn.created_at
    length = max((_seconds(begin, entry.at) for entry in found.entries), default=0.0) or 1.0
    return [_row(entry, begin, length) for entry in found.entries]


def _row(entry: Entry, begin: datetime, length: float) -> Row:
    at = _seconds(begin, entry.at)
    since = at if entry.since is None else _seconds(begin, entry.since)
    width = max(round(_SCALE * (at - since) / length), _LEAST)
    x = min(max(round(_SCALE * since / length), 0), _SCALE - width)
    took = "" if entry.since is None else f"{max(at - since, 0):.3f}"
    return Row(entry.kind, entry.what, f"{at:+.3f}", took, entry.spent or "moment", max(x, 0), width)


def _seconds(begin: datetime, at: datetime) -> float:
    return (at - begin).total_seconds()
