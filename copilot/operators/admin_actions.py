"""Operators' acts on turns in the admin: chosen in the list, confirmed on a page that says what they cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import BadRequest, PermissionDenied
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.text import capfirst

from common.admin import ReadOnlyAdmin
from common.ids import as_uuid
from copilot.diagnostics.categories import CATEGORIES
from copilot.models import Turn
from copilot.operators.actions import ACTIONS, fitting
from copilot.operators.permission import may_operate

#: Turns that the page shows, of however many.
SHOWN = 10
#: What the list's address may hold beside a category without narrowing it.
_NOT_NARROWING = {"category", "hours", "o", "p", "all"}


@dataclass(frozen=True, slots=True)
class Wording:
    """How an act is spoken of."""

    verb: str
    done: str
    #: Which turns it can be done to.
    can: str
    #: What it costs, and whom.
    cost: str


WORDINGS = {
    "stop": Wording(
        verb="stop",
        done="stopped",
        can="have not ended",
        cost="This ends people's work. What was said so far is kept, messages that wait are held until their "
        "people send them on, and what these turns started is stopped with them. A turn that runs ends as soon as "
        "its worker hears of it; if it does not, the turn is taken from it after some seconds.",
    ),
    "requeue": Wording(
        verb="requeue",
        done="requeued",
        can="are queued",
        cost="This has workers run these turns now, also those that were to wait: models are called, which may "
        "cost money, and tools run. They stay the same turns, of the same people; one that runs or has ended is "
        "left alone.",
    ),
    "cleanup": Wording(
        verb="clean up",
        done="cleaned up",
        can="are orphaned or stuck in the queue",
        cost="This fails these turns for good, without asking any worker. What was said so far is kept, and "
        "messages that wait are held until their people send them on. A turn whose worker comes back first is "
        "left to it.",
    ),
}


class TurnOperations(ReadOnlyAdmin):
    """A list of turns from which some, or all that match, can be stopped, requeued or cleaned up."""

    actions = tuple(ACTIONS)

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """Whoever may see turns may not yet do anything to them."""
        return may_operate(request.user)

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Offer what can be done to the category that the list shows, if it shows one."""
        offered: dict[str, Any] = super().get_actions(request)
        category = CATEGORIES.get(request.GET.get("category", ""))
        if category is None:
            return offered
        return {name: act for name, act in offered.items() if name not in ACTIONS or name in category.actions}

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Refuse acts to whoever may not operate turns, instead of showing the list again.

        Raises:
            PermissionDenied: of an act on turns.
            BadRequest: a chosen row is not named by an id.
        """
        if request.method == "POST":
            if not ACTIONS.keys().isdisjoint(request.POST.getlist("action")) and not may_operate(request.user):
                raise PermissionDenied
            if not all(map(as_uuid, request.POST.getlist(ACTION_CHECKBOX_NAME))):
                raise BadRequest("Turns are chosen by their ids.")
        return super().changelist_view(request, extra_context)

    @admin.action(description="Stop", permissions=["operate"])
    def stop(self, request: HttpRequest, queryset: QuerySet[Turn]) -> HttpResponse | None:
        """Ask the chosen turns to stop."""
        return self._operate("stop", request, queryset)

    @admin.action(description="Requeue", permissions=["operate"])
    def requeue(self, request: HttpRequest, queryset: QuerySet[Turn]) -> HttpResponse | None:
        """Have those of the chosen turns that are queued taken up."""
        return self._operate("requeue", request, queryset)

    @admin.action(description="Clean up", permissions=["operate"])
    def cleanup(self, request: HttpRequest, queryset: QuerySet[Turn]) -> HttpResponse | None:
        """Fail those of the chosen turns that no worker looks after."""
        return self._operate("cleanup", request, queryset)

    def _operate(self, name: str, request: HttpRequest, chosen: QuerySet[Turn]) -> HttpResponse | None:
        """Act on the chosen turns once it is confirmed; the page that asks changes nothing."""
        words = WORDINGS[name]
        fit = chosen.filter(pk__in=fitting(name).values("pk")).order_by()
        if request.POST.get("confirmed"):
            self._act(name, request, fit if _is_across(request) else chosen)
            return None
        if not fit.exists():
            self.message_user(request, f"None of these turns {words.can}: nothing to do.", messages.WARNING)
            return None
        return self._ask(name, request, chosen, fit)

    def _act(self, name: str, request: HttpRequest, turns: QuerySet[Turn]) -> None:
        ids = turns.values_list("pk", flat=True)
        outcome = ACTIONS[name](ids, operator=request.user, category=_category(request))
        text = f"{capfirst(WORDINGS[name].done)} {outcome.affected:,} of {outcome.requested:,}."
        everything = outcome.affected == outcome.requested
        self.message_user(request, text, messages.SUCCESS if everything else messages.WARNING)

    def _ask(self, name: str, request: HttpRequest, chosen: QuerySet[Turn], fit: QuerySet[Turn]) -> HttpResponse:
        words = WORDINGS[name]
        by_status = dict(fit.values_list("status").annotate(Count("pk")).order_by("status"))
        count = sum(by_status.values())
        across = _is_across(request)
        context = {
            **self.admin_site.each_context(request),
            "title": f"{capfirst(words.verb)} {count:,} {'turn' if count == 1 else 'turns'}?",
            "opts": self.opts,
            "name": name,
            "words": words,
            "count": count,
            "people": fit.aggregate(people=Count("user", distinct=True))["people"],
            "by_status": by_status,
            "left_out": chosen.order_by().count() - count,
            "turns": fit.select_related("user").order_by("pk")[:SHOWN],
            "more": max(0, count - SHOWN),
            "across": across,
            # One is enough to say that there is a choice where all that match are meant.
            "selected": request.POST.getlist(ACTION_CHECKBOX_NAME)[: 1 if across else None],
            "checkbox": ACTION_CHECKBOX_NAME,
            "back": request.get_full_path(),
        }
        return TemplateResponse(request, "admin/copilot/turn/confirm.html", context)


def _is_across(request: HttpRequest) -> bool:
    """Whether all turns that match are meant, on whatever page of the list they are."""
    return request.POST.get("select_across") == "1"


def _category(request: HttpRequest) -> str:
    """Return the category that is meant as a whole, if it is one."""
    name = request.GET.get("category", "")
    whole = _is_across(request) and name in CATEGORIES and set(request.GET) <= _NOT_NARROWING
    return name if whole else ""
