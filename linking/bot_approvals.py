"""What a bot sees of the decisions that its threads wait for, and the one way in which it passes one on.

A bot never decides. It says which identity on its platform did, and only that of the link's owner counts. What
child sessions of a thread ask is the thread's, too.
"""

from __future__ import annotations

import uuid

from django.db.models import Exists, OuterRef, Q, QuerySet

from approvals.actions import decide
from approvals.decisions import Wish
from approvals.models import Action
from approvals.models.action import ActionQuerySet
from common.errors import Invalid, NotFound
from common.ids import as_uuid
from copilot.models import Session
from copilot.models.session import DEPTH_MAX
from linking.bot_objects import ALWAYS
from linking.bot_turns import is_owner
from linking.models import Bot, Thread
from linking.models.links import LinkKind

#: Names of platforms that would pass for surfaces of ours.
_OURS = {"web", "api", "admin", "server"}
_SURFACE_MAX = 20


def surface_of(bot: Bot) -> str:
    """Return where decisions that come through a bot are made, as the audit log names it."""
    return "bot" if bot.platform in _OURS else bot.platform[:_SURFACE_MAX]


def actions_of(bot: Bot, *, status: str = "") -> ActionQuerySet:
    """Return what people are asked in a bot's threads: pending ones that still wait, soonest end first; others
    newest first."""
    threads = Thread.objects.filter(bot=bot, session__user__is_active=True)
    # By their owners first: there is an index for that.
    asked = Action.objects.filter(user__in=threads.values("session__user")).select_related("decided_by")
    own = asked.filter(_in_threads(threads))
    if status == Action.Status.PENDING:
        return own.live().order_by("expires_at", "pk")
    if status:
        own = own.filter(status=status)
    return own.order_by("-created_at", "-pk")


def _in_threads(threads: QuerySet[Thread]) -> Q:
    """Return the condition that an action's session is one of these threads', or a child below one."""
    found = Q(Exists(threads.filter(session=OuterRef("session"))))
    for depth in range(1, DEPTH_MAX + 1):
        child = Session.objects.filter(pk=OuterRef("session"))
        found |= Q(Exists(child.filter(**{f"{'__'.join(['parent'] * depth)}__bot_thread__in": threads})))
    return found


def action_of(bot: Bot, action_id: object) -> Action:
    """Return one action of a bot's threads.

    Raises:
        NotFound: unknown, or elsewhere.
    """
    known = as_uuid(action_id)
    found = actions_of(bot).filter(pk=known).first() if known else None
    if found is None:
        raise NotFound
    return found


def thread_of(session_id: uuid.UUID) -> Thread:
    """Return the thread that a session is, or is a child below, with its link and the link's owner.

    Raises:
        NotFound: there is none.
    """
    above = "__".join(["parent"] * DEPTH_MAX)
    session = Session.objects.select_related(above).filter(pk=session_id).first()
    while session is not None and session.parent is not None:
        session = session.parent
    threads = Thread.objects.select_related("server_link__owner", "user_link__owner")
    thread = threads.filter(session=session).first() if session else None
    if thread is None:
        raise NotFound
    return thread


def decide_for_owner(*, bot: Bot, action_id: object, platform_user_id: str, wish: Wish) -> Action:
    """Carry out what the owner of a thread's link decided on the platform.

    Raises:
        NotFound: no such action in a thread of this bot, or the identity is not the owner's.
        Invalid: ``not_allowed``: for all sessions, from a server; otherwise as for any decision.
        Conflict, Busy: as for any decision (``approvals.actions.decide``).
    """
    action = action_of(bot, action_id)
    link = thread_of(action.session).link
    if not is_owner(link, platform_user_id):
        raise NotFound
    if wish.scope == ALWAYS and link.kind == LinkKind.SERVER:
        raise Invalid(
            "In a server, decide this once or for the session. To have it remembered always, decide in the page.",
            code="not_allowed",
            scope="invalid",
        )
    return decide(user=link.owner, action_id=action.pk, wish=wish, surface=surface_of(bot))
