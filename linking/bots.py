"""Bots and their keys: register, rotate, switch off, recognise."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet

from common.db import db_now, seconds_ago, transact
from common.errors import Conflict, Invalid, NotFound
from common.prepared import prepared
from linking.keys import digest_of, note_use
from linking.models import Bot, BotKey

#: All that a bot's key can be allowed beside what every bot does.
BOT_SCOPES = ("approve",)
PREFIX = "hfb_"
_LONGEST = 100
_NAME = re.compile(r"[\w][\w .@+-]{0,63}")
_PLATFORM = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")


def checked_bot_scopes(scopes: Iterable[str]) -> list[str]:
    """Return ``scopes`` without doubles.

    Raises:
        Invalid: one is unknown.
    """
    wanted = set(scopes)
    if unknown := sorted(wanted - set(BOT_SCOPES)):
        raise Invalid(f"Unknown scope '{unknown[0]}'. A bot's key may have: {', '.join(BOT_SCOPES)}.")
    return [scope for scope in BOT_SCOPES if scope in wanted]


@transact
def register_bot(*, name: str, platform: str, scopes: Iterable[str] = ()) -> tuple[Bot, str]:
    """Register a bot, or find the one of that name, and return it with a new key's secret.

    The keys that it has stay: ``rotate_key`` replaces them.

    Raises:
        Invalid: a name, platform or scope that cannot be.
        Conflict: the bot is of another platform, or switched off.
    """
    if not _NAME.fullmatch(name) or name != name.strip():
        raise Invalid("A bot's name has 1 to 64 letters, digits, blanks and . _ @ + -, and begins with a letter.")
    platform = platform.lower()
    if not _PLATFORM.fullmatch(platform):
        raise Invalid("A platform's name has 1 to 32 letters a-z, digits, - and _, as in 'discord'.")
    wanted = checked_bot_scopes(scopes)
    bot, _ = Bot.objects.get_or_create(name=name, defaults={"platform": platform})
    if bot.platform != platform:
        raise Conflict(f"The bot {name} is of the platform {bot.platform}. Choose another name.")
    if bot.disabled_at is not None:
        raise Conflict(f"The bot {name} is switched off; a key would not work. Switch it on in the admin first.")
    return bot, _issue(bot, wanted)


@transact
def rotate_key(*, name: str, scopes: Iterable[str] | None = None, grace: float = 0) -> tuple[Bot, str]:
    """Give a bot a new key and return its secret; all others end after ``grace`` seconds.

    Args:
        name: The bot's.
        scopes: Of the new key; None: as the newest live key has them.
        grace: Seconds for which the old keys go on working; those that end sooner do.

    Raises:
        NotFound: there is no such bot.
        Invalid: an unknown scope, or a negative grace.
    """
    bot = _locked(name)
    if bot is None:
        raise NotFound(f"There is no bot called {name}. See 'manage.py create_bot'.")
    if grace < 0:
        raise Invalid("The grace is a number of seconds, 0 or more.")
    live = BotKey.objects.live().filter(bot=bot)
    if scopes is None:
        newest = live.order_by("-created_at", "-id").first()
        scopes = newest.scopes if newest else ()
    wanted = checked_bot_scopes(scopes)
    until = seconds_ago(-grace) if grace else db_now()
    live.filter(Q(revoked_at__isnull=True) | Q(revoked_at__gt=until)).update(revoked_at=until)
    return bot, _issue(bot, wanted)


def _locked(name: str) -> Bot | None:
    """Return a bot under its lock: of two rotations at once the later one ends the key of the other."""
    return Bot.objects.select_for_update(of=("self",), no_key=True).filter(name=name).first()


def _issue(bot: Bot, scopes: list[str]) -> str:
    secret = PREFIX + secrets.token_urlsafe(32)
    BotKey.objects.create(bot=bot, scopes=scopes, prefix=secret[:9], digest=digest_of(secret))
    return secret


@transact
def switch_bot(*, bot_id: UUID, on: bool) -> bool:
    """Switch a bot on or off; False if it was so before. Off, none of its keys works from the next request on."""
    if on:
        return bool(Bot.objects.filter(pk=bot_id, disabled_at__isnull=False).update(disabled_at=None))
    return bool(Bot.objects.live().filter(pk=bot_id).update(disabled_at=db_now()))


@transact
def revoke_bot_key(*, key_id: UUID) -> bool:
    """Make a bot's key useless at once; False if it was before."""
    return bool(BotKey.objects.live().filter(pk=key_id).update(revoked_at=db_now()))


def authenticate_bot(secret: str) -> BotKey | None:
    """Return the live key, with its bot, that ``secret`` is; None if it is none, or the bot is off. One query."""
    if not secret.startswith(PREFIX) or len(secret) > _LONGEST:
        return None
    found = _live_key(digest_of(secret))
    if not found:
        return None
    key = found[0]
    note_use(key)
    return key


@prepared
def _live_key(digest: Any) -> QuerySet[BotKey]:
    live = BotKey.objects.live().select_related("bot")
    return live.filter(digest=digest, bot__disabled_at__isnull=True)
