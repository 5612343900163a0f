"""Which bot is calling. A bot's key counts under ``/api/v1/bot/`` alone, and nothing else counts there."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from django.http import HttpRequest
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from common.auth import AsyncView, api_view_async, bearer_secret, refuse_key_in_url
from common.bodies import Body, read_body
from common.db import db
from common.errors import Forbidden, NotAuthenticated
from linking.bot_rate import count_call
from linking.bots import authenticate_bot
from linking.models import Bot


@dataclass(frozen=True, kw_only=True)
class BotCaller:
    """An authenticated bot.

    Attributes:
        bot: Whose key it is.
        scopes: What the key allows beside what every bot may do.
    """

    bot: Bot
    scopes: frozenset[str]
    # What to check again while a stream stays open; never shown.
    _secret: str = field(default="", repr=False)

    def may(self, scope: str) -> bool:
        """Tell whether the key has ``scope``."""
        return scope in self.scopes

    def require(self, scope: str) -> None:
        """Do nothing if the key has ``scope``.

        Raises:
            Forbidden: with code ``scope``.
        """
        if not self.may(scope):
            raise Forbidden(f"This needs a bot's key with the scope '{scope}'.", code="scope")


def bot_caller_of_key(secret: str | None) -> BotCaller:
    """Return the bot that a key stands for (sync, one query).

    Raises:
        NotAuthenticated: no key, a person's, or one that is unknown or revoked or whose bot is switched off.
    """
    if secret is None:
        raise NotAuthenticated("This is for bots: send a bot's key as 'Authorization: Bearer hfb_…'.")
    key = authenticate_bot(secret)
    if key is None:
        raise NotAuthenticated(
            "This is not a bot's key that works: it is of another kind, mistyped, revoked, or its bot is off."
        )
    return BotCaller(bot=key.bot, scopes=frozenset(key.scopes), _secret=secret)


def check_bot_still_valid(caller: BotCaller) -> bool:
    """Tell whether ``caller`` would be let in again; streams ask at each heartbeat (sync)."""
    try:
        again = bot_caller_of_key(caller._secret)
    except NotAuthenticated:
        return False
    return again.bot.pk == caller.bot.pk


class BotAuthentication(BaseAuthentication):
    """``Authorization: Bearer hfb_…``; sets ``request.auth`` to the ``BotCaller``. Cookies count for nothing."""

    def authenticate(self, request: Any) -> tuple[None, BotCaller]:
        """Return the bot as the caller, and no user."""
        refuse_key_in_url(dict(request.query_params.lists()))
        return None, bot_caller_of_key(bearer_secret(request.headers.get("authorization")))

    def authenticate_header(self, request: Any) -> str:
        """Return the challenge that makes a refusal a 401."""
        return "Bearer"


class IsBot(BasePermission):
    """Require a bot, and the scope that the view names in ``scope``, if it names one."""

    def has_permission(self, request: Any, view: Any) -> bool:
        """Return False for anybody but a bot; raise ``Forbidden`` for a key without the scope."""
        if not isinstance(request.auth, BotCaller):
            return False
        if view.scope:
            request.auth.require(view.scope)
        return True


class BotView(APIView):
    """A REST view for bots. All calls but those that only read are counted against the bot's rate."""

    authentication_classes = [BotAuthentication]
    permission_classes: list[type[BasePermission]] = [IsBot]
    scope = ""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Let the bot in and count the call."""
        super().initial(request, *args, **kwargs)
        if request.method not in SAFE_METHODS:
            count_call(bot_of(request).pk)

    def body(self, request: Request, body: type[Body]) -> dict[str, Any]:
        """Read the request's body; it is read from the stream, so that its size is bounded."""
        return read_body(body, request._request)


def bot_of(request: Request) -> Bot:
    """Return the bot of an authenticated REST request.

    Raises:
        NotAuthenticated: no bot was recognised.
    """
    if not isinstance(request.auth, BotCaller):
        raise NotAuthenticated
    return request.auth.bot


async def authenticate_bot_request(request: HttpRequest) -> BotCaller:
    """Return the bot that calls a plain async view; the database connection is given back before.

    Raises:
        NotAuthenticated: anything but a bot's live key.
    """
    refuse_key_in_url(dict(request.GET.lists()))
    return await db(bot_caller_of_key, bearer_secret(request.headers.get("authorization")))


async def _authenticate_and_count(request: HttpRequest) -> BotCaller:
    caller = await authenticate_bot_request(request)
    if request.method not in SAFE_METHODS:
        await db(count_call, caller.bot.pk)
    return caller


def bot_view_async(
    scope: str = "", methods: Iterable[str] = ("GET",), *, counted: bool = True
) -> Callable[[AsyncView], AsyncView]:
    """Make an endpoint for bots of ``async def view(request, *args, caller: BotCaller, **kwargs)``.

    As ``api_view_async``, for views that wait for something. Calls that do not only read count against the bot's
    rate, unless ``counted`` says otherwise: a stop must get through.
    """
    recognise = _authenticate_and_count if counted else authenticate_bot_request
    return api_view_async(scope, methods, recognise=recognise)
