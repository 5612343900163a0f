"""The pages of approvals: what waits for a person, what they want remembered, and what became of it all."""

from __future__ import annotations

import uuid

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from approvals import selectors
from approvals.api.actions import PENDING_MAX
from approvals.models import Action
from approvals.pages import ShownAction, shown_actions, shown_entries, shown_rules
from approvals.rules import revoke
from common.errors import Invalid, NotFound
from common.paging import page_of


@require_GET
@login_required
@never_cache
def inbox(request: HttpRequest) -> HttpResponse:
    """Show what waits for the person, of all sessions, the soonest end first."""
    now = round(timezone.now().timestamp() * 1000)
    context = {"approvals_page": "inbox", "asked": _asked(request), "now": now}
    return render(request, "approvals/inbox.html", context)


@require_GET
@login_required
@never_cache
def inbox_items(request: HttpRequest) -> HttpResponse:
    """Return the same without the page around it."""
    return render(request, "approvals/_items.html", {"asked": _asked(request)})


def _asked(request: HttpRequest) -> list[ShownAction]:
    actions = list(selectors.actions_of(request.user, status=Action.Status.PENDING)[:PENDING_MAX])
    return shown_actions(actions, selectors.titles_of(request.user, (action.session for action in actions)))


@require_GET
@login_required
def action_page(request: HttpRequest, action_id: uuid.UUID) -> HttpResponse:
    """Go to where the action is shown in its session; notifications lead here."""
    try:
        action = selectors.action_of(request.user, action_id)
    except NotFound as error:
        raise Http404 from error
    return redirect(f"{reverse('session', args=[action.session])}#approval-{action.pk}")


@require_GET
@login_required
@never_cache
def rules(request: HttpRequest) -> HttpResponse:
    """Show what runs without asking, because the person said so."""
    remembered = list(selectors.rules_of(request.user))
    titles = selectors.titles_of(request.user, (rule.session for rule in remembered))
    context = {"approvals_page": "rules", "rules": shown_rules(remembered, titles)}
    return render(request, "approvals/rules.html", context)


@require_POST
@login_required
def revoke_rule(request: HttpRequest, rule_id: uuid.UUID) -> HttpResponse:
    """Forget one rule."""
    try:
        revoke(user=request.user, rule_id=rule_id, surface="web")
    except NotFound as error:
        raise Http404 from error
    return redirect("approval-rules")


@require_GET
@login_required
@never_cache
def log(request: HttpRequest) -> HttpResponse:
    """Show who decided what, newest first."""
    try:
        entries, following, earlier = page_of(request, selectors.log_of(request.user), by="at")
    except Invalid:
        return redirect("approval-log")  # an address that was typed or cut: from the beginning
    titles = selectors.titles_of(request.user, (entry.session for entry in entries))
    context = {"approvals_page": "log", "entries": shown_entries(entries, titles)}
    return render(request, "approvals/log.html", {**context, "following": following, "earlier": earlier})
