"""Tables in the admin that are there to be looked at."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest

from common.ids import as_uuid


def short(value: object) -> str:
    """The end of an id: its beginning is the time, which neighbours share."""
    return f"…{str(value)[-12:]}" if value else "-"


class AtLeast(int):
    """A number of rows of which nobody counted the rest."""

    def __str__(self) -> str:
        return f"{int(self):,}+"


class CappedPaginator(Paginator):  # type: ignore[type-arg] # not subscriptable at run time
    """Pages of a table that may be long: it counts so many rows, says "10,000+", and has no pages beyond."""

    COUNTED = 10_000

    def __init__(self, rows: QuerySet[Any], *args: Any, **options: Any) -> None:
        super().__init__(rows, *args, **options)
        self._rows = rows

    @cached_property
    def count(self) -> int:
        """How many rows there are, as far as they are counted."""
        found = self._rows.order_by()[: self.COUNTED + 1].count()
        return AtLeast(self.COUNTED) if found > self.COUNTED else found


class ReadOnly:
    """Nothing can be added, changed or deleted."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Rows are made by the server."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Rows are changed by the server, under its locks."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Rows are deleted with their session, by its owner."""
        return False


class ReadOnlyAdmin(ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg] # not subscriptable at run time
    """A read-only table, found by full ids or by the owner's name."""

    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # they would count the table once for each choice of each filter
    paginator = CappedPaginator
    list_per_page = 50
    #: Columns that hold an id that one may search for.
    id_columns: tuple[str, ...] = ("pk",)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Look up ids as ids: comparing them as text would read the whole table."""
        wanted = as_uuid(search_term.strip())
        if wanted is None:
            return super().get_search_results(request, queryset, search_term)
        any_of = Q()
        for column in self.id_columns:
            any_of |= Q(**{column: wanted})
        return queryset.filter(any_of), False


class ReadOnlyInline(ReadOnly, admin.TabularInline):  # type: ignore[type-arg] # not subscriptable at run time
    """Rows on the page of what they belong to."""

    extra = 0
    can_delete = False
    show_change_link = False
    model: type[Model]
