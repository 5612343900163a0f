"""The engine's rows in the admin: to be looked at. The engine writes them, and nobody edits them by hand."""

from __future__ import annotations

import json
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html

from common.admin import ReadOnlyAdmin, ReadOnlyInline, short
from common.ids import as_uuid
from copilot.models import (
    Message,
    OperatorEntry,
    Preset,
    Session,
    Step,
    ToolCall,
    Turn,
    TurnLog,
    UsageRecord,
    User,
    Worker,
)
from copilot.operators.admin_actions import TurnOperations
from copilot.operators.timeline_page import TimelineAdmin
from copilot.operators.turn_filters import (
    CategoryFilter,
    ErrorFilter,
    HoursFilter,
    ModelFilter,
    UserFilter,
    of_people,
)
from copilot.operators.user_usage import UserUsageAdmin
from copilot.presets import name_problem, remove
from copilot.retention.admin import DeletesPeople


def session_link(session_id: object) -> str:
    """A link that names a session by its id; its title comes from what people wrote."""
    page = reverse("admin:copilot_session_change", args=[session_id])
    return format_html('<a href="{}">{}</a>', page, session_id)


class JournalInline(ReadOnlyInline):
    """What happened to the turn."""

    model = TurnLog
    verbose_name_plural = "journal"
    fields = ("at", "kind", "data")
    readonly_fields = fields
    ordering = ("pk",)


class StepInline(ReadOnlyInline):
    """What the model was asked for; not what it said."""

    model = Step
    fields = ("number", "finish_reason", "created_at")
    readonly_fields = fields
    ordering = ("number",)


class ToolCallInline(ReadOnlyInline):
    """Which tools were called; not with what."""

    model = ToolCall
    fields = ("step", "position", "name", "state", "started_at", "finished_at", "id")
    readonly_fields = fields
    ordering = ("step", "position")


@admin.register(User)
class UserAdmin(DeletesPeople, UserUsageAdmin):
    """People. Whoever is to stay away for a time is deactivated; who is deleted goes with everything of theirs."""

    #: The tier is changed on the page of their usage, where that is recorded.
    readonly_fields = ("tier", "deleting_at")
    fieldsets = (
        *(UserUsageAdmin.fieldsets or ()),
        ("Copilot", {"fields": ("tier", "time_zone", "deleting_at")}),
    )
    list_display = ("username", "email", "is_active", "is_staff", "tier", "last_login", "deleting_at")
    show_full_result_count = False


@admin.register(Session)
class SessionAdmin(ReadOnlyAdmin):
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
        "approval_mode",
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


class PresetForm(forms.ModelForm):  # type: ignore[type-arg] # not subscriptable at run time
    """One of the operator's presets."""

    def clean_name(self) -> str:
        """Refuse a name that another one has, whatever the case."""
        name = " ".join(self.cleaned_data["name"].split())
        if problem := name_problem(Preset.objects.of_operator().exclude(pk=self.instance.pk), name):
            raise forms.ValidationError(problem)
        return name


@admin.register(Preset)
class PresetAdmin(admin.ModelAdmin):  # type: ignore[type-arg] # as above
    """The presets that everybody can use; what people make for themselves is theirs."""

    form = PresetForm
    fields = ("name", "prompt", "tone", "style")
    list_display = ("name", "tone", "style", "created_at")
    search_fields = ("name",)
    ordering = ("name",)
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Preset]:
        """Return the operator's own."""
        return Preset.objects.of_operator()

    def delete_model(self, request: HttpRequest, obj: Preset) -> None:
        """Take it from the sessions that have it, too."""
        remove(Preset.objects.filter(pk=obj.pk))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Preset]) -> None:
        """Take them from the sessions that have them, too."""
        remove(Preset.objects.filter(pk__in=queryset.values("pk")))


@admin.register(Message)
class MessageAdmin(ReadOnlyAdmin):
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
class TurnAdmin(TurnOperations, TimelineAdmin):
    """Turns, with their history."""

    list_display = (
        "short_id",
        "to_timeline",
        "user",
        "status",
        "outcome",
        "origin",
        "model",
        "attempt",
        "steps",
        "created_at",
        "finished_at",
        "in_session",
    )
    list_filter = (
        CategoryFilter,
        HoursFilter,
        "status",
        "origin",
        UserFilter,
        ModelFilter,
        ErrorFilter,
        "created_at",
    )
    list_select_related = ("user",)
    search_fields = ("user__username",)
    id_columns = ("pk", "session", "worker")
    ordering = ("-pk",)
    readonly_fields = ("of_session",)
    inlines = (JournalInline, StepInline, ToolCallInline)

    class Media:
        css = {"all": ("copilot/operators.css",)}

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Turn], search_term: str
    ) -> tuple[QuerySet[Turn], bool]:
        """Look for people by their names before their turns are looked for."""
        wanted = search_term.strip()
        if not wanted or as_uuid(wanted):
            return super().get_search_results(request, queryset, search_term)
        return of_people(queryset, wanted), False

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
class UsageRecordAdmin(ReadOnlyAdmin):
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
        "estimated",
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
class WorkerAdmin(ReadOnlyAdmin):
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


@admin.register(OperatorEntry)
class OperatorEntryAdmin(ReadOnlyAdmin):
    """What operators did, the newest first."""

    list_display = ("at", "operator_name", "action", "category", "of_user", "requested", "affected")
    list_filter = ("action", "at")
    search_fields = ("operator_name", "action")
    id_columns = ("pk", "target_user", "operator")
    ordering = ("-pk",)
    fields = (
        "id",
        "at",
        "operator",
        "operator_name",
        "action",
        "category",
        "of_user",
        "requested",
        "affected",
        "details",
    )
    readonly_fields = ("of_user", "details")

    def get_queryset(self, request: HttpRequest) -> QuerySet[OperatorEntry]:
        """Read the name of whom it was done to along, while there is such an account."""
        names = User.objects.filter(pk=OuterRef("target_user")).values("username")
        entries: QuerySet[OperatorEntry] = super().get_queryset(request)
        return entries.annotate(target_name=Subquery(names))

    @admin.display(description="user", ordering="target_user")
    def of_user(self, entry: OperatorEntry) -> str:
        """The name of whom it was done to; of an account that is gone, the end of its id."""
        name: str | None = getattr(entry, "target_name", None)
        return name or short(entry.target_user)

    @admin.display(description="data")
    def details(self, entry: OperatorEntry) -> str:
        """What else there is to know of it; escaped like any text."""
        return json.dumps(entry.data, ensure_ascii=False, indent=2)
