"""Who is calling: one answer for REST views, plain async views and websockets.

A bearer key, once sent, decides alone: an invalid one is refused and never falls back to the cookie, so that a
script with a revoked key does not act as whoever is logged in. Cookies need a CSRF token on unsafe methods;
keys do not, because no browser sends them by itself.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Protocol
from urllib.parse import parse_qs
from uuid import UUID

from django.conf import settings
from django.contrib import auth
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, parse_cookie
from django.utils.crypto import constant_time_compare
from django.utils.module_loading import import_string
from django.views.decorators.csrf import csrf_exempt
from rest_framework.authentication import BaseAuthentication, CSRFCheck
from rest_framework.permissions import BasePermission

from common.db import db
from common.errors import AppError, Busy, Forbidden, MethodNotAllowed, NotAuthenticated, NotFound

#: Everything that a personal key can be allowed to do.
SCOPES = ("chat", "approve", "operator")

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_URL_PARAMETERS = ("key", "api_key", "token")
_KEY_PREFIXES = ("hf_", "hfb_")


@dataclass(frozen=True, kw_only=True)
class Caller:
    """An authenticated person, and by what they were recognised.

    Attributes:
        user: The account (``Any``: this layer knows no model).
        scopes: What the key allows; None for a cookie session, which may do everything its user may.
        key_id: The key's id; None for a cookie session.
    """

    user: Any
    scopes: frozenset[str] | None = None
    key_id: UUID | None = None
    # What to check again while a socket stays open; never shown.
    _secret: str = field(default="", repr=False)
    _session_key: str = field(default="", repr=False)

    def may(self, scope: str) -> bool:
        """Tell whether this caller has ``scope``; ``operator`` needs a member of staff besides."""
        if scope == "operator" and not self.user.is_staff:
            return False
        return self.scopes is None or scope in self.scopes

    def require(self, scope: str) -> None:
        """Do nothing if the caller has ``scope``.

        Raises:
            Forbidden: with code ``scope``.
        """
        if self.may(scope):
            return
        if scope == "operator" and not self.user.is_staff:
            raise Forbidden("Only members of staff may do this.", code="scope")
        raise Forbidden(f"This needs a key with the scope '{scope}'.", code="scope")


# --- recognising ------------------------------------------------------------------------


def bearer_secret(authorization: str | None) -> str | None:
    """Return what follows ``Bearer`` in the header; None when the header is absent or of another scheme.

    An empty or garbled bearer is returned as it is: it must be refused, not ignored.
    """
    scheme, _, secret = (authorization or "").strip().partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else None


def refuse_key_in_url(parameters: Mapping[str, Iterable[str]]) -> None:
    """Refuse a key in a query string: URLs end up in logs, histories and referrers.

    Raises:
        NotAuthenticated: a parameter looks like a key.
    """
    for name in _URL_PARAMETERS:
        if any(value.startswith(_KEY_PREFIXES) for value in parameters.get(name, ())):
            raise NotAuthenticated(
                "A key in a URL is refused, because URLs are logged. Send it as 'Authorization: Bearer …' "
                "and replace this key: it may have been seen."
            )


def caller_of_key(secret: str) -> Caller:
    """Return the caller that a personal key stands for (sync, one query).

    Raises:
        NotAuthenticated: unknown, revoked, or its user is deactivated.
    """
    if secret.startswith("hfb_"):
        raise NotAuthenticated("A bot's key works only under /api/v1/bot/.")
    found = import_string(settings.KEY_AUTHENTICATOR)(secret)
    if found is None:
        raise NotAuthenticated("This key is not valid: it is mistyped, revoked, or its user is deactivated.")
    user, scopes, key_id = found
    return Caller(user=user, scopes=frozenset(scopes), key_id=key_id, _secret=secret)


def user_of_session(session_key: str) -> Any | None:
    """Return the active user logged in by the stored session, or None (sync, two queries).

    It reads only. Django's own ``get_user`` may replace the session's key, which a socket could not pass on
    to the browser. A changed password ends the session here as there.
    """
    if not (session_key.isascii() and session_key.isalnum()):
        return None  # not one of ours; PostgreSQL would choke on some of what a cookie may hold
    data = import_module(settings.SESSION_ENGINE).SessionStore(session_key).load()
    path = data.get(auth.BACKEND_SESSION_KEY)
    if path not in settings.AUTHENTICATION_BACKENDS:
        return None
    user = auth.load_backend(path).get_user(data.get(auth.SESSION_KEY))
    if user is None:
        return None
    hashes = [user.get_session_auth_hash(), *user.get_session_auth_fallback_hash()]
    stored = data.get(auth.HASH_SESSION_KEY) or ""
    return user if any(constant_time_compare(stored, known) for known in hashes) else None


def caller_of_session(session_key: str) -> Caller:
    """Return the caller that a session cookie stands for (sync).

    Raises:
        NotAuthenticated: there is no such session, it has ended, or its user is deactivated.
    """
    user = user_of_session(session_key)
    if user is None:
        raise NotAuthenticated
    return Caller(user=user, _session_key=session_key)


def check_still_valid(caller: Caller) -> bool:
    """Tell whether ``caller`` would be let in again: not revoked, not logged out, user active (sync)."""
    try:
        again = caller_of_session(caller._session_key) if caller.scopes is None else caller_of_key(caller._secret)
    except NotAuthenticated:
        return False
    return bool(again.user.pk == caller.user.pk)


async def still_valid(caller: Caller) -> bool:
    """Tell whether ``caller`` would be let in again; sockets ask at each heartbeat."""
    return await db(check_still_valid, caller)


# --- websockets -------------------------------------------------------------------------


async def authenticate_scope_headers(headers: Iterable[tuple[bytes, bytes]]) -> Caller:
    """Return the caller of a websocket handshake from its raw headers.

    With a bearer header cookies are ignored; whether a cookie's ``Origin`` is allowed is asked elsewhere.

    Raises:
        NotAuthenticated: neither a valid key nor a live session.
    """
    found: dict[bytes, list[str]] = {}
    for name, value in headers:
        found.setdefault(name.lower(), []).append(value.decode("latin-1"))
    secret = bearer_secret(", ".join(found.get(b"authorization", [])))
    if secret is not None:
        return await db(caller_of_key, secret)
    return await db(caller_of_session, _session_cookie("; ".join(found.get(b"cookie", []))))


async def authenticate_scope(scope: Mapping[str, Any]) -> Caller:
    """Return the caller of a websocket's ASGI scope; like its headers, but refuses a key in the URL.

    Raises:
        NotAuthenticated: neither a valid key nor a live session, or a key in the URL.
    """
    refuse_key_in_url(parse_qs(scope.get("query_string", b"").decode("latin-1")))
    return await authenticate_scope_headers(scope.get("headers", ()))


def has_bearer(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Tell whether a bearer header was sent; then no ``Origin`` is needed, as no browser sends one unasked."""
    values = [value.decode("latin-1") for name, value in headers if name.lower() == b"authorization"]
    return bearer_secret(", ".join(values)) is not None


def _session_cookie(header: str) -> str:
    return str(parse_cookie(header).get(settings.SESSION_COOKIE_NAME, ""))


# --- plain async views ------------------------------------------------------------------


def csrf_problem(request: HttpRequest) -> str:
    """Return why the request fails the CSRF check, or an empty string; the session cookie is not looked at."""
    check = CSRFCheck(lambda _request: HttpResponse())
    check.process_request(request)
    return str(check.process_view(request, _no_view, (), {}) or "")


def _no_view(request: HttpRequest) -> HttpResponse:
    """Stand in for a view that is not exempt from the check."""
    raise NotImplementedError


def _enforce_csrf(request: HttpRequest) -> None:
    if problem := csrf_problem(request):
        raise Forbidden(f"CSRF check failed: {problem} Reload the page and try again.", code="csrf")


async def authenticate(request: HttpRequest) -> Caller:
    """Return the caller of a plain async view, by bearer header or session cookie.

    The database connection is given back before this returns, so a view that waits holds none.

    Raises:
        NotAuthenticated: neither a valid key nor a live session, or a key in the URL.
        Forbidden: code ``csrf``, a cookie without its token on an unsafe method.
    """
    refuse_key_in_url(dict(request.GET.lists()))
    secret = bearer_secret(request.headers.get("authorization"))
    if secret is not None:
        return await db(caller_of_key, secret)
    user = await db(auth.get_user, request)
    if not user.is_authenticated:
        raise NotAuthenticated
    if request.method not in _SAFE_METHODS:
        _enforce_csrf(request)
    request.user = user
    return Caller(user=user, _session_key=request.session.session_key or "")


AsyncView = Callable[..., Coroutine[Any, Any, HttpResponseBase]]


class Scoped(Protocol):
    """A caller of any kind."""

    def require(self, scope: str) -> None:
        """Raise ``Forbidden`` unless the caller has ``scope``."""


def api_view_async(
    scope: str = "chat",
    methods: Iterable[str] = ("GET",),
    *,
    recognise: Callable[[HttpRequest], Awaitable[Scoped]] = authenticate,
    refusal: Callable[[AppError], HttpResponse] = AppError.response,
) -> Callable[[AsyncView], AsyncView]:
    """Make an API endpoint of ``async def view(request, *args, caller: Caller, **kwargs)``.

    Checks the method, authenticates by ``recognise`` (people, unless told otherwise), requires ``scope`` (empty:
    none) and words every ``AppError`` as JSON, by ``refusal``. For views that wait for something; everything else
    is a DRF view.
    """
    allowed = tuple(methods)

    def decorate(view: AsyncView) -> AsyncView:
        @functools.wraps(view)
        async def run(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            try:
                if request.method not in allowed:
                    raise MethodNotAllowed(f"Use {' or '.join(allowed)} here.")
                caller = await recognise(request)
                if scope:
                    caller.require(scope)
                return await view(request, *args, caller=caller, **kwargs)
            except MethodNotAllowed as error:
                response = refusal(error)
                response["Allow"] = ", ".join(allowed)
                return response
            except Http404:
                return refusal(NotFound())
            except (OperationalError, InterfaceError):
                return refusal(Busy())
            except AppError as error:
                return refusal(error)

        return csrf_exempt(run)

    return decorate


# --- REST views -------------------------------------------------------------------------


class BearerAuthentication(BaseAuthentication):
    """``Authorization: Bearer hf_…``; sets ``request.auth`` to the ``Caller``."""

    def authenticate(self, request: Any) -> tuple[Any, Caller] | None:
        """Return the key's user and caller; None without a bearer header."""
        refuse_key_in_url(dict(request.query_params.lists()))
        secret = bearer_secret(request.headers.get("authorization"))
        if secret is None:
            return None
        caller = caller_of_key(secret)
        return caller.user, caller

    def authenticate_header(self, request: Any) -> str:
        """Return the challenge that makes a refusal a 401."""
        return "Bearer"


class CookieAuthentication(BaseAuthentication):
    """The session cookie, with a CSRF token on unsafe methods; sets ``request.auth`` to the ``Caller``."""

    def authenticate(self, request: Any) -> tuple[Any, Caller] | None:
        """Return the logged-in user and caller; None for anonymous requests."""
        plain: HttpRequest = request._request
        user = getattr(plain, "user", None)
        if user is None or not user.is_active:
            return None
        if plain.method not in _SAFE_METHODS:
            _enforce_csrf(plain)
        return user, Caller(user=user, _session_key=plain.session.session_key or "")

    def authenticate_header(self, request: Any) -> str:
        """Return the challenge that makes a refusal a 401."""
        return "Bearer"


class HasScope(BasePermission):
    """Require the scope that the view names in ``scope`` (default ``chat``; empty: any key will do)."""

    def has_permission(self, request: Any, view: Any) -> bool:
        """Return False for anonymous callers; raise ``Forbidden`` for a key without the scope."""
        if not isinstance(request.auth, Caller):
            return False
        scope = getattr(view, "scope", "chat")
        if scope:
            request.auth.require(scope)
        return True


def caller_of(request: Any) -> Caller:
    """Return the caller of an authenticated DRF request.

    Raises:
        NotAuthenticated: nobody was recognised.
    """
    if not isinstance(request.auth, Caller):
        raise NotAuthenticated
    return request.auth
