"""What the admin's list of turns can be narrowed to. None of it reads the whole table to offer its choices."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, get_args

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest

from copilot.diagnostics.categories import CATEGORIES, counts, rows_of
from copilot.models import Turn, User
from copilot.providers.base import ErrorClass

#: Error codes of turns.
ERRORS = (*get_args(ErrorClass), "max_steps", "worker_lost", "stalled")
#: How far back failures are looked at, in hours.
HOURS = {"1": "Last hour", "24": "Last 24 hours", "168": "Last 7 days", "720": "Last 30 days"}
#: Parameters of Django's list of rows that a form must not carry along: the page, and its mark of an error.
_NOT_KEPT = ("p", "e")


def hours_of(request: HttpRequest) -> float:
    """Return how far back the request wants failures to be looked at; 24 hours unless it says.

    Raises:
        IncorrectLookupParameters: not a number of hours; Django shows the list without filters then.
    """
    try:
        hours = float(request.GET.get("hours") or 24)
    except ValueError as error:
        raise IncorrectLookupParameters("hours: must be a number.") from error
    if not (math.isfinite(hours) and 0 < hours <= 24 * 365 * 10):
        raise IncorrectLookupParameters("hours: must be more than 0, and ten years at most.")
    return hours


class CategoryFilter(admin.SimpleListFilter):
    """The categories of diagnostics, each with how many turns are in it."""

    title = "category"
    parameter_name = "category"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the categories."""
        return [(name, category.title) for name, category in CATEGORIES.items()]

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        """Offer them with their counts. Here, because an action on turns shows none."""
        found = counts(hours=hours_of(self.request))
        everything, *categories = super().choices(changelist)
        yield everything
        for (name, title), choice in zip(self.lookup_choices, categories, strict=True):
            yield {**choice, "display": f"{title} ({found[name]:,})"}

    def queryset(self, request: HttpRequest, queryset: QuerySet[Turn]) -> QuerySet[Turn]:
        """Keep the turns of the category."""
        name, hours = self.value(), hours_of(request)
        if name is None:
            return queryset
        if name not in CATEGORIES:
            raise IncorrectLookupParameters(f"category: is one of {', '.join(CATEGORIES)}.")
        return queryset & rows_of(name, hours=hours).order_by()  # in the order of the list


class HoursFilter(admin.SimpleListFilter):
    """How far back failures are looked at; offered with their category alone."""

    title = "failed within"
    parameter_name = "hours"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the usual ones, and the one that was asked for."""
        if request.GET.get("category") != "failed":
            return []
        asked = request.GET.get("hours")
        other = [] if not asked or asked in HOURS else [(asked, f"Last {hours_of(request):g} hours")]
        return [*HOURS.items(), *other]

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        """Offer them without "All": who asks for none gets a day's."""
        for value, title in self.lookup_choices:
            selected = (self.value() or "24") == value
            link = changelist.get_query_string({self.parameter_name: value})
            yield {"selected": selected, "query_string": link, "display": title}

    def queryset(self, request: HttpRequest, queryset: QuerySet[Turn]) -> QuerySet[Turn]:
        """Leave the rows to the category."""
        return queryset


class ErrorFilter(admin.SimpleListFilter):
    """The code that a turn failed with."""

    title = "error"
    parameter_name = "error"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return every code that there is, whether or not a turn has it."""
        return [(code, code) for code in ERRORS]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Turn]) -> QuerySet[Turn]:
        """Keep the turns that failed with it."""
        code = self.value()
        if code is None:
            return queryset
        if code not in ERRORS:
            raise IncorrectLookupParameters(f"error: is one of {', '.join(ERRORS)}.")
        return queryset.filter(status=Turn.Status.FAILED, outcome=code)


class _TextFilter(admin.ListFilter):
    """A filter by what is typed: of a long table, nobody lists all the values."""

    template = "admin/copilot/turn/text_filter.html"
    parameter_name: str
    placeholder: str

    def __init__(self, request: HttpRequest, params: dict[str, Any], model: Any, model_admin: Any) -> None:
        super().__init__(request, params, model, model_admin)
        given = params.pop(self.parameter_name, None)
        # Without control characters: no name has any, and PostgreSQL takes no text with a NUL.
        self.text = "".join(char for char in given[-1] if char.isprintable()).strip() if given else ""

    def has_output(self) -> bool:
        """Return whether it is shown: always."""
        return True

    def expected_parameters(self) -> list[str | None]:
        """Return the parameter that it reads."""
        return [self.parameter_name]

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        """Offer one thing: a form, which keeps what else the list is narrowed to."""
        left_out = (self.parameter_name, *_NOT_KEPT)
        kept = [(name, value) for name, value in self.request.GET.items() if name not in left_out]
        yield {
            "kept": kept,
            "clear": changelist.get_query_string(remove=[self.parameter_name]),
        }


class UserFilter(_TextFilter):
    """Whose turns; by a part of the name."""

    title = "user"
    parameter_name = "user"
    placeholder = "a part of the name"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Turn]) -> QuerySet[Turn]:
        """Keep the turns of people with such a name."""
        if not self.text:
            return queryset
        return queryset.filter(user__in=User.objects.filter(username__icontains=self.text).values("pk"))


class ModelFilter(_TextFilter):
    """The model that the turn runs with."""

    title = "model"
    parameter_name = "model"
    placeholder = "provider/model"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Turn]) -> QuerySet[Turn]:
        """Keep the turns with this model."""
        return queryset.filter(model=self.text) if self.text else queryset
