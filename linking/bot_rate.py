"""How much a bot may ask for: ``BOT_RATE`` calls a minute beside mere reading, over all processes together."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.conf import settings

from common import rates
from common.db import db_now, transact
from common.prepared import Update, prepared_update
from linking.models import Bot


@transact
def count_call(bot_id: UUID) -> None:
    """Count a call, in a transaction of its own: calls of one bot never wait for each other's work.

    Raises:
        RateLimited: it is one too many. ``fields`` say when the next one is accepted.
        Busy: it could not be counted in time.
    """
    rate: int = settings.BOT_RATE
    if not rate or _count(rate)(bot_id):
        return
    spent = Bot.objects.filter(pk=bot_id).annotate(now=db_now()).values_list("spent_until", "now").first()
    if spent is not None:  # else the bot was deleted: what it calls will find out
        raise rates.refusal(f"A bot can make at most {rate} calls a minute.", *spent, rate)


@functools.cache
def _count(rate: int) -> Callable[[Any], int]:
    @prepared_update
    def count(bot_id: Any) -> Update:
        rows = Bot.objects.filter(rates.has_room("spent_until", rate), pk=bot_id)
        return rows, {"spent_until": rates.moved_on("spent_until", rate)}

    return count
