"""Pages of links: the one on which a link is confirmed, and the list of one's own."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from common.auth import csrf_problem
from common.errors import AppError, Invalid, NotFound
from linking.link_tokens import confirm_link_token, look_at_link_token
from linking.links import allow_personal, links_of, put_away_notice, unlink
from linking.models import LinkToken
from linking.models.links import LinkKind
from linking.names import called
from linking.objects import ALLOWS
from linking.token_page import TokenPage


class LinkPage(TokenPage):
    """A link that a bot handed out: GET says what it would link to whom, POST links it."""

    def get(self, request: HttpRequest, token: str) -> HttpResponse:
        """Show what would be linked; nothing is used up yet."""
        if not request.user.is_authenticated:
            return redirect_to_login(request.path)
        try:
            return _question(request, token, look_at_link_token(token))
        except AppError as error:
            return _refusal(request, error)

    def post(self, request: HttpRequest, token: str) -> HttpResponse:
        """Link it to who is logged in, if the code is right."""
        if csrf_problem(request):
            return render(request, "linking/link_refused.html", {"code": "csrf"}, status=403)
        if not request.user.is_authenticated:
            return redirect_to_login(request.path)
        try:
            row = look_at_link_token(token)
            code = "".join(request.POST.get("code", "").split())
            if not code:  # no try is lost for it
                return _question(request, token, row, problem="Type the code that the bot showed to you.")
            link = confirm_link_token(user=request.user, token=token, kind=row.kind, code=code)
        except Invalid as error:
            return _question(request, token, row, problem=error.detail)
        except AppError as error:
            return _refusal(request, error)
        messages.success(request, f"Linked: {called(link.platform_name, link.platform_id)}.")
        return redirect("links")


def _question(request: HttpRequest, token: str, row: LinkToken, problem: str = "") -> HttpResponse:
    context: dict[str, Any] = {
        "token": token,
        "row": row,
        "is_server": row.kind == LinkKind.SERVER,
        "target": called(row.platform_name, row.platform_id),
        "asker": called(row.platform_user_name, row.platform_user_id),
        "allows": ALLOWS[LinkKind(row.kind)],
        "problem": problem,
    }
    return render(request, "linking/link.html", context, status=400 if problem else 200)


def _refusal(request: HttpRequest, error: AppError) -> HttpResponse:
    context = {"code": error.error_code, "detail": error.detail}
    return render(request, "linking/link_refused.html", context, status=error.status)


@require_GET
@login_required
@never_cache
def links(request: HttpRequest) -> HttpResponse:
    """Show what is linked to the person, with what each link allows."""
    context = {"links_page": True, "links": links_of(request.user)}
    return render(request, "linking/links.html", context)


@require_POST
@login_required
def unlink_there(request: HttpRequest, link_id: UUID) -> HttpResponse:
    """Remove a link."""
    _or_404(unlink, user=request.user, link_id=link_id)
    messages.success(request, "Unlinked.")
    return redirect("links")


@require_POST
@login_required
def put_away(request: HttpRequest, link_id: UUID) -> HttpResponse:
    """Put the notice of a new link away, and stay where it was shown."""
    _or_404(put_away_notice, user=request.user, link_id=link_id)
    back = request.POST.get("next", "")
    # A path: what is none would be looked up as the name of a page.
    is_ours = back.startswith("/") and url_has_allowed_host_and_scheme(back, allowed_hosts=None)
    return redirect(back if is_ours else "links")


@require_POST
@login_required
def allow_personal_there(request: HttpRequest, link_id: UUID) -> HttpResponse:
    """Say whether strangers in a server may use what is the person's own."""
    allowed = request.POST.get("allowed") == "yes"
    _or_404(allow_personal, user=request.user, link_id=link_id, allowed=allowed)
    return redirect("links")


def _or_404(act: Any, **arguments: Any) -> None:
    try:
        act(**arguments)
    except NotFound as error:
        raise Http404 from error
