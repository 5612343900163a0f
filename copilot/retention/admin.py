"""Deleting people in the admin: with its own confirmation page, and then step by step like everywhere else."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from common.errors import AppError
from copilot.models import File, Session, User
from copilot.retention.decision import begin_deletion, leaves_a_superuser


class DeletesPeople(admin.ModelAdmin):  # type: ignore[type-arg] # not subscriptable at run time
    """What the admin of people does when they are deleted."""

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Ask Django's own permission; a superuser is deleted by a superuser only."""
        allowed = super().has_delete_permission(request, obj)
        return allowed and (obj is None or not obj.is_superuser or _is_chief(request))

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Ask Django's own permission; an account that is being deleted is only looked at."""
        return super().has_change_permission(request, obj) and (obj is None or obj.deleting_at is None)

    def get_deleted_objects(self, objs: Iterable[User], request: HttpRequest) -> Any:
        """Say for each person what goes with them; their rows are not read one by one for it."""
        people = list(objs)
        shown: list[Any] = []
        counts = {"users": len(people), "sessions": 0, "files": 0}
        for user in people:
            sessions, files = Session.objects.filter(user=user).count(), File.objects.filter(user=user).count()
            shown += [user.get_username(), [f"{sessions} sessions with all that is in them", f"{files} files"]]
            counts["sessions"] += sessions
            counts["files"] += files
        needed = {user.get_username() for user in people if not self.has_delete_permission(request, user)}
        protected = [] if leaves_a_superuser(people) else ["the last active superuser"]
        return shown, counts, needed, protected

    def delete_model(self, request: HttpRequest, obj: User) -> None:
        """Begin with it; the sweep goes on."""
        self._begin(request, [obj])

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        """Begin with each of them."""
        self._begin(request, queryset)

    def response_delete(self, request: HttpRequest, obj_display: str, obj_id: Any) -> HttpResponse:
        """Go back to the list, where it is said how far it is."""
        return redirect("admin:copilot_user_changelist")

    def _begin(self, request: HttpRequest, people: Iterable[User]) -> None:
        by = request.user
        assert isinstance(by, User)  # noqa: S101 - the admin is for people who are logged in
        begun = 0
        for user in people:
            try:
                begin_deletion(user.pk, by=by, operated=True)
                begun += 1
            except AppError as error:
                self.message_user(request, error.detail, messages.ERROR)
        if begun:
            what = f"Locked out: {begun}. What is theirs is being deleted in the background, the account last."
            self.message_user(request, what, messages.WARNING)


def _is_chief(request: HttpRequest) -> bool:
    return bool(getattr(request.user, "is_superuser", False))
