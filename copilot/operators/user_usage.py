"""A person's usage in the admin: the exact figures, a fresh window, another tier."""

from __future__ import annotations

import uuid
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path

from copilot.models import User
from copilot.operators.allowances import change_tier, reset
from copilot.usage.allowance import TIER_MAX
from copilot.usage.limits import Standing, usage_of
from copilot.usage.money import dollars

_PAGE = "admin:copilot_user_usage"


class TierForm(forms.Form):
    """By what a person's limits are multiplied."""

    tier = forms.IntegerField(min_value=1, max_value=TIER_MAX)


class ResetForm(forms.Form):
    """Which windows begin anew: the day, or the week too."""

    week = forms.BooleanField(required=False)


class UserUsageAdmin(DjangoUserAdmin):  # type: ignore[type-arg] # not subscriptable at run time
    """People, each with a page of usage. To look one must be allowed to view users, to act to change them."""

    def get_urls(self) -> list[URLPattern]:
        """Put the pages before Django's own, which take any path for an id."""
        pages = {"usage": self.usage_view, "usage/reset": self.reset_view, "usage/tier": self.tier_view}
        return [
            *(
                path(
                    f"<uuid:user_id>/{place}/",
                    self.admin_site.admin_view(view),
                    name=f"copilot_user_{place.replace('/', '_')}",
                )
                for place, view in pages.items()
            ),
            *super().get_urls(),
        ]

    def usage_view(self, request: HttpRequest, user_id: uuid.UUID) -> HttpResponse:
        """Show the figures, with what can be done about them."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        return self._usage(request, _person(user_id))

    def reset_view(self, request: HttpRequest, user_id: uuid.UUID) -> HttpResponse:
        """Ask on GET whether the day, with ``week`` the week too, is to begin anew; do it on POST."""
        user, week = self._changed(request, user_id), _week(request)
        if request.method == "POST":
            reset(_operator(request), user, week=week)
            done = "The day and the week begin" if week else "The day begins"
            messages.success(request, f"{done} anew for {user.get_username()}.")
            return redirect(_PAGE, user.pk)
        windows = usage_of(user.pk).windows[: 2 if week else 1]
        context = {"week": week, "windows": [_shown(each) for each in windows]}
        return self._page(request, user, "reset_usage", "Begin anew?", context)

    def tier_view(self, request: HttpRequest, user_id: uuid.UUID) -> HttpResponse:
        """Set another tier; one that is none is said on the page."""
        user = self._changed(request, user_id)
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        form = TierForm(request.POST)
        if not form.is_valid():
            return self._usage(request, user, form, status=400)
        change_tier(_operator(request), user, form.cleaned_data["tier"])
        messages.success(request, f"The tier of {user.get_username()} is {form.cleaned_data['tier']}.")
        return redirect(_PAGE, user.pk)

    def _changed(self, request: HttpRequest, user_id: uuid.UUID) -> User:
        if not self.has_change_permission(request):
            raise PermissionDenied
        return _person(user_id)

    def _usage(
        self, request: HttpRequest, user: User, form: TierForm | None = None, status: int = 200
    ) -> HttpResponse:
        usage = usage_of(user.pk)
        context = {
            "windows": [_shown(standing) for standing in usage.windows],
            "tier": usage.tier,
            "tier_form": form or TierForm(initial={"tier": usage.tier}),
            "may_change": self.has_change_permission(request),
        }
        return self._page(request, user, "usage", "Usage", context, status)

    def _page(
        self, request: HttpRequest, user: User, name: str, title: str, context: dict[str, Any], status: int = 200
    ) -> HttpResponse:
        about = {"title": title, "subtitle": user.get_username(), "opts": self.opts, "person": user}
        context = {**self.admin_site.each_context(request), **about, **context}
        return TemplateResponse(request, f"admin/copilot/user/{name}.html", context, status=status)


def _person(user_id: uuid.UUID) -> User:
    return get_object_or_404(User, pk=user_id)


def _operator(request: HttpRequest) -> User:
    operator = request.user
    assert isinstance(operator, User)  # noqa: S101 - the admin lets nobody else in
    return operator


def _week(request: HttpRequest) -> bool:
    form = ResetForm(request.POST if request.method == "POST" else request.GET)
    return form.is_valid() and bool(form.cleaned_data["week"])


def _shown(standing: Standing) -> dict[str, Any]:
    """One window in words."""
    window = standing.window
    return {
        "name": {"day": "Day", "week": "Week"}[window.kind],
        "starts_on": window.starts_on,
        "resets_at": window.resets_at,
        "limit": dollars(standing.limit) if standing.limit else "none",
        "unknown": standing.unknown,
        "is_over": not standing.has_room(),
        **{name: dollars(getattr(standing, name)) for name in ("counted", "used", "forgiven", "reserved")},
    }
