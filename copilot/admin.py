"""The engine's rows in the admin: to be looked at. The engine writes them, and nobody edits them by hand."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html

from common.ids import as_uuid
from copilot.models import Message, Session, Step, ToolCall, Turn, TurnLog, UsageRecord, User, Worker


def short(value: object) -> str:
    """The end of an id: its beginning is the time, which neighbours share."""
    return f"…{str(value)[-12:]}" if value else "-"


def session_link(session_id: object) -> str:
    """A link that names a session by its id; its title comes from what people wrote."""
    page = reverse("admin:copilot_session_change", args=[session_id])
    return format_html('<a href="{}">{}</a>', page, session_id)


class ReadOnly:
    """Nothing can be added, changed or deleted."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Rows are made by the engine."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Rows are changed by the engine, under its locks."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Rows are deleted with their session, by its owner."""
        return False


class EngineAdmin(ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg] # not subscriptable at run time
    """A read-only table, found by full ids or by the owner's name."""

    show_full_result_count = False
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


class EngineInline(ReadOnly, admin.TabularInline):  # type: ignore[type-arg] # not subscriptable at run time
    """Rows of a turn on its page."""

    extra = 0
    can_delete = False
    show_change_link = False
    model: type[Model]


class JournalInline(EngineInline):
    """What happened to the turn."""

    model = TurnLog
    verbose_name_plural = "journal"
    fields = ("at", "kind", "data")
    readonly_fields = fields
    ordering = ("pk",)


class StepInline(EngineInline):
    """What the model was asked for; not what it said."""

    model = Step
    fields = ("number", "finish_reason", "created_at")
    readonly_fields = fields
    ordering = ("number",)


class ToolCallInline(EngineInline):
    """Which tools were called; not with what."""

    model = ToolCall
    fields = ("step", "position", "name", "state", "started_at", "finished_at", "id")
    readonly_fields = fields
    ordering = ("step", "position")


@admin.register(User)
class UserAdmin(DjangoUserAdmin):  # type: ignore[type-arg] # not subscriptable at run time
    """People; they are deactivated, not deleted, once they have sessions."""

    fieldsets = (*(DjangoUserAdmin.fieldsets or ()), ("Copilot", {"fields": ("tier", "time_zone")}))
    list_display = ("username", "email", "is_active", "is_staff", "tier", "last_login")
    show_full_result_count = False


@admin.register(Session)
class SessionAdmin(EngineAdmin):
    """Conversations; their titles come from what people wrote, so lists do without."""

    list_display = ("short_id", "user", "archived", "temporary", "revision", "created_at", "updated_at")
    list_filter = ("archived", "temporary", "updated_at")
    list_select_related = ("user",)
    search_fields = ("user__username",)
    ordering = ("-updated_at",)
    fields = (
        "id",
        "user",
        "title",
        "title_source",
        "model",
        "tools",
        "archived",
        "temporary",
        "revision",
        "rewrites",
        "next_seq",
        "accepted",
        "input_tokens",
        "output_tokens",
        "cost_microdollars",
        "client_id",
        "created_at",
        "updated_at",
    )

    @admin.display(description="id", ordering="pk")
    def short_id(self, session: Session) -> str:
        """The end of the id."""
        return short(session.pk)


@admin.register(Message)
class MessageAdmin(EngineAdmin):
    """Messages; their text is on their own page only."""

    list_display = (
        "short_id",
        "in_session",
        "of_turn",
        "role",
        "state",
        "seq",
        "number",
        "held",
        "shown",
        "created_at",
    )
    list_filter = ("role", "state", "held", "shown", "created_at")
    search_fields = ("session__user__username",)
    id_columns = ("pk", "session", "turn")
    ordering = ("-pk",)
    fields = (
        "id",
        "of_session",
        "turn",
        "role",
        "state",
        "seq",
        "number",
        "held",
        "shown",
        "parent",
        "created_at",
        "content",
    )
    readonly_fields = ("of_session", "content")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Message]:
        """Lists are read without the content, which may be large."""
        return super().get_queryset(request).defer("parts", "options")

    @admin.display(description="id", ordering="pk")
    def short_id(self, message: Message) -> str:
        """The end of the id."""
        return short(message.pk)

    @admin.display(description="session", ordering="session_id")
    def in_session(self, message: Message) -> str:
        """The end of the session's id."""
        return short(message.session_id)

    @admin.display(description="turn", ordering="turn_id")
    def of_turn(self, message: Message) -> str:
        """The end of the turn's id."""
        return short(message.turn_id)

    @admin.display(description="session")
    def of_session(self, message: Message) -> str:
        """The session's id, as a link."""
        return session_link(message.session_id)

    @admin.display(description="parts")
    def content(self, message: Message) -> str:
        """The parts as they are stored; escaped like any text."""
        return json.dumps(message.parts, ensure_ascii=False, indent=2)


@admin.register(Turn)
class TurnAdmin(EngineAdmin):
    """Turns, with their history."""

    list_display = (
        "short_id",
        "in_session",
        "user",
        "status",
        "outcome",
        "origin",
        "model",
        "attempt",
        "steps",
        "created_at",
        "finished_at",
    )
    list_filter = ("status", "origin", "created_at")
    list_select_related = ("user",)
    search_fields = ("user__username", "model", "outcome")
    id_columns = ("pk", "session", "worker")
    ordering = ("-pk",)
    readonly_fields = ("of_session",)
    inlines = (JournalInline, StepInline, ToolCallInline)

    @admin.display(description="id", ordering="pk")
    def short_id(self, turn: Turn) -> str:
        """The end of the id."""
        return short(turn.pk)

    @admin.display(description="session", ordering="session_id")
    def in_session(self, turn: Turn) -> str:
        """The end of the session's id."""
        return short(turn.session_id)

    def get_fields(self, request: HttpRequest, obj: Turn | None = None) -> list[Any]:
        """Every column, the ids first."""
        columns = [column.name for column in Turn._meta.fields if column.name not in ("id", "session")]
        return ["id", "of_session", *columns]

    @admin.display(description="session")
    def of_session(self, turn: Turn) -> str:
        """The session's id, as a link."""
        return session_link(turn.session_id)


@admin.register(UsageRecord)
class UsageRecordAdmin(EngineAdmin):
    """What model calls used."""

    list_display = (
        "of_turn",
        "user",
        "model",
        "step",
        "fence",
        "input_tokens",
        "output_tokens",
        "cost_microdollars",
        "cost_source",
        "created_at",
    )
    list_filter = ("cost_source", "created_at")
    list_select_related = ("user",)
    search_fields = ("user__username", "model")
    id_columns = ("turn", "session", "user")
    ordering = ("-pk",)

    @admin.display(description="turn", ordering="turn_id")
    def of_turn(self, record: UsageRecord) -> str:
        """The end of the turn's id; a side question has none."""
        return short(record.turn_id) if record.turn_id else "aside"


@admin.register(Worker)
class WorkerAdmin(EngineAdmin):
    """Processes that run turns, as their heartbeat describes them."""

    list_display = (
        "host",
        "pid",
        "version",
        "running",
        "slots",
        "loop_lag_ms",
        "stopping",
        "started_at",
        "seen_at",
    )
    list_filter = ("stopping",)
    search_fields = ("host",)
    ordering = ("-seen_at",)
