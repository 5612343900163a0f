"""Links: whose is it, list, change, remove."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from common.db import transact
from common.errors import NotFound
from common.ids import as_uuid
from copilot.models import Message, User
from linking.models import Bot, Link, ServerLink, UserLink
from linking.models.links import LinkKind
from linking.threads import do_lock_link, do_sessions_of, stop_work

_MODELS: dict[str, type[Link]] = {LinkKind.SERVER: ServerLink, LinkKind.USER: UserLink}


def model_of(kind: str) -> type[Link]:
    """Return the model of links of this kind."""
    return _MODELS[kind]


def _of_kind(kind: str) -> QuerySet[Any]:
    return _MODELS[kind]._default_manager.all()


def link_of(*, bot: Bot, kind: str, platform_id: str) -> Link | None:
    """Return the link of a bot's server or person, with its owner; never that of the other kind in its place.

    A link whose owner is deactivated counts as none.
    """
    found: Link | None = (
        _of_kind(kind)
        .select_related("owner")
        .filter(bot=bot, platform_id=platform_id, owner__is_active=True)
        .first()
    )
    return found


def is_linked(*, bot: Bot, kind: str, platform_id: str) -> bool:
    """Tell whether a bot's server or person has an owner, active or not."""
    return _of_kind(kind).filter(bot=bot, platform_id=platform_id).exists()


def links_of(user: Any) -> list[Link]:
    """Return the links of a person with their bots, servers and people, newest first."""
    mine: list[Link] = []
    for kind in _MODELS:
        mine += _of_kind(kind).filter(owner=user).select_related("bot")
    return sorted(mine, key=lambda link: (link.created_at, link.pk), reverse=True)


def new_links_of(user: User) -> list[dict[str, Any]]:
    """Return the newest links that a person has not put away the notice of, two at most: ``id platform name``.

    One query.
    """
    columns = ("pk", "bot__platform", "platform_name", "asked_by_name", "platform_id", "created_at")
    both = [_of_kind(kind).filter(owner=user, seen_at__isnull=True).values_list(*columns) for kind in _MODELS]
    rows = both[0].union(both[1], all=True).order_by("-created_at")[:2]
    return [
        {"id": pk, "platform": platform, "name": name or asked_by or platform_id}
        for pk, platform, name, asked_by, platform_id, _ in rows
    ]


def _one(user: User, link_id: str | UUID) -> QuerySet[Any]:
    """Return the rows, one at most, that this link of ``user`` is.

    Raises:
        NotFound: unknown, somebody else's, or no id at all.
    """
    found = as_uuid(link_id)
    if found is None:
        raise NotFound
    for kind in _MODELS:
        rows = _of_kind(kind).filter(owner=user, pk=found)
        if rows.exists():
            return rows
    raise NotFound


@transact
def unlink(*, user: User, link_id: str | UUID) -> None:
    """Remove a link of ``user``; from then on the bot speaks there for nobody.

    What was asked there and still runs is stopped after the commit, and what waits is held. What was said stays,
    in sessions of ``user``.

    Raises:
        NotFound: unknown, somebody else's, or removed before.
    """
    link = _one(user, link_id).first()
    if link is None or do_lock_link(link) is None:
        raise NotFound
    sessions = do_sessions_of(link)
    link.delete()
    transaction.on_commit(lambda: stop_work(user, sessions), robust=True)


@transact
def put_away_notice(*, user: User, link_id: str | UUID) -> None:
    """Note that ``user`` has seen that the link was made.

    Raises:
        NotFound: unknown, or somebody else's.
    """
    _one(user, link_id).filter(seen_at__isnull=True).update(seen_at=timezone.now())


@transact
def allow_personal(*, user: User, link_id: str | UUID, allowed: bool) -> Link:
    """Say whether people in a linked server may use the owner's instructions and MCP servers.

    Not any more: neither may what they wrote before and still waits.

    Raises:
        NotFound: unknown, somebody else's, or not the link of a server.
    """
    found = as_uuid(link_id)
    mine = _of_kind(LinkKind.SERVER).filter(owner=user, pk=found)
    if found is None or not mine.update(allows_personal=allowed):
        raise NotFound("There is no linked server of yours with this id.")
    if not allowed:
        lent = Message.objects.filter(session__bot_thread__server_link=found, standing=Message.Standing.GUEST)
        lent.filter(state=Message.State.QUEUED).update(standing="")
    link: Link = mine.select_related("bot").get()
    return link
