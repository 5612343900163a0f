"""The pages of the web chat. Everything that moves on them comes over the websocket and the REST API."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from chat.transcript import is_demo, shown_messages, waiting_message
from common.errors import NotFound
from copilot import selectors
from copilot.models import Session, User
from copilot.providers import registry
from copilot.turns.sessions import create_session


@require_GET
@login_required
@never_cache
def home(request: HttpRequest) -> HttpResponse:
    """Show a new chat, and the list of earlier ones."""
    return render(request, "home.html", {"demo": is_demo(registry.default_model())})


@require_GET
@login_required
@never_cache
def session_page(request: HttpRequest, session_id: uuid.UUID) -> HttpResponse:
    """Show one session with its newest messages, or with those before ``?before=seq``."""
    session = _session(_user(request), session_id)
    model = session.model or registry.default_model()
    page = _messages(request, session)
    waiting = None if page["has_newer"] else waiting_message(session)
    if waiting:
        page["messages"].append(waiting)
    context = {
        "session": session,
        "model": model,
        "demo": is_demo(model),
        "is_asked": waiting is not None,
        "now": round(timezone.now().timestamp() * 1000),
        **page,
    }
    return render(request, "session.html", context)


@require_GET
@login_required
@never_cache
def session_messages(request: HttpRequest, session_id: uuid.UUID) -> HttpResponse:
    """Return messages as they are on the page, without the page: ``?after=seq`` or ``?before=seq``."""
    session = _session(_user(request), session_id)
    context = _messages(request, session)
    response = render(request, "_messages.html", context)
    response["X-Has-Older"] = str(int(context["has_older"]))
    response["X-Has-Newer"] = str(int(context["has_newer"]))
    return response


@require_POST
@login_required
def new_session(request: HttpRequest) -> HttpResponse:
    """Create an empty session and go to its page."""
    return redirect("session", session_id=create_session(user=_user(request)).id)


def _user(request: HttpRequest) -> User:
    user = request.user
    assert isinstance(user, User)  # noqa: S101 - every page is behind login_required
    return user


def _session(user: User, session_id: uuid.UUID) -> Session:
    try:
        return selectors.session_of(user, session_id)
    except NotFound as error:
        raise Http404 from error


def _messages(request: HttpRequest, session: Session) -> dict[str, Any]:
    page = selectors.messages_page(session, before=_seq(request, "before"), after=_seq(request, "after"))
    messages = shown_messages(page)
    return {
        "messages": messages,
        "has_older": page.has_older,
        "has_newer": page.has_newer,
        "first_seq": messages[0].seq if messages else 0,
    }


def _seq(request: HttpRequest, name: str) -> int | None:
    """Return a bound from the address; one that is not a number is as good as none."""
    value = request.GET.get(name, "")
    return int(value) if value.isascii() and value.isdigit() and len(value) < 10 else None
