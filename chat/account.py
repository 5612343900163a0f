"""The pages on which people get everything that is theirs, and on which they leave."""

from __future__ import annotations

import asyncio
import tempfile
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.contrib.auth import logout
from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import content_disposition_header
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from chat.api.files import HEADERS, Pieces
from common.auth import authenticate
from common.db import release_connections
from common.errors import AppError, NotAuthenticated
from copilot.export.archive import write_export
from copilot.export.contents import safe_name
from copilot.models import User
from copilot.retention.decision import begin_deletion

#: Exports that a process makes at once; others wait, and hold nothing.
_makers = ThreadPoolExecutor(2, thread_name_prefix="export")


@require_GET
@login_required
@never_cache
def data(request: HttpRequest) -> HttpResponse:
    """Offer a person their data, and the way to the page on which they leave."""
    return render(request, "account/data.html", {"account_page": "data"})


@require_POST
@never_cache
async def download(request: HttpRequest) -> HttpResponseBase:
    """Answer with everything of the person, logged in here: no key's scope is that wide. It is made first, so that
    what arrives is whole."""
    try:
        caller = await authenticate(request)
        if caller.scopes is not None:
            raise NotAuthenticated
    except NotAuthenticated:
        return redirect_to_login(reverse("account-data"))
    archive = tempfile.TemporaryFile()  # noqa: SIM115 - the response closes it
    try:
        await asyncio.wrap_future(_makers.submit(_write, caller.user, archive))
    except BaseException:
        archive.close()  # when who asked has left: its maker ends with its next write
        raise
    size = archive.tell()
    archive.seek(0)
    name = f"holdfast-{safe_name(caller.user.get_username())}-{timezone.now():%Y-%m-%d}.zip"
    headers = {
        **HEADERS,
        "Content-Length": str(size),
        "Content-Disposition": content_disposition_header(True, name) or "attachment",
    }
    return StreamingHttpResponse(Pieces(archive, size), content_type="application/zip", headers=headers)


def _write(user: User, archive: Any) -> None:
    try:
        write_export(user, archive)
    finally:
        release_connections()


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
@never_cache
def delete(request: HttpRequest) -> HttpResponse:
    """Ask whether the person really wants to leave; with their password, or their name without one, do it."""
    user = request.user
    assert isinstance(user, User)  # noqa: S101 - behind login_required
    if request.method != "POST":
        return _question(request, user)
    given = request.POST.get("confirm", "")
    if not (user.check_password(given) if user.has_usable_password() else given.strip() == user.get_username()):
        what = "That is not your password." if user.has_usable_password() else "That is not your user name."
        return _question(request, user, problem=f"{what} Nothing was deleted.", status=400)
    try:
        begin_deletion(user.pk, by=user, operated=False)
    except AppError as error:
        return _question(request, user, problem=error.detail, status=error.status)
    logout(request)
    return redirect("account-deleted")


def _question(request: HttpRequest, user: User, *, problem: str = "", status: int = 200) -> HttpResponse:
    context: dict[str, Any] = {
        "account_page": "delete",
        "has_password": user.has_usable_password(),
        "problem": problem,
    }
    return render(request, "account/delete.html", context, status=status)


@require_GET
@never_cache
def deleted(request: HttpRequest) -> HttpResponse:
    """Say to who has left that everything goes."""
    return render(request, "account/deleted.html")
