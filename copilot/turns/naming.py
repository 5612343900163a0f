"""When a session is named, and how its title is replaced: never one that a person chose."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import transaction
from django.db.models import F

from common.db import transact
from copilot.models import Message, Session, Turn
from copilot.providers.registry import DEMO, default_model
from copilot.turns.begin import announce
from copilot.turns.dispatch import send_title_task

#: Messages, answers included, that a session may have while naming it is still tried: about four exchanges.
MESSAGES_MAX = 8


def title_model(session: Session) -> str:
    """Return the model that names this session; "" where only the demo model could, which says canned things."""
    model = settings.COPILOT_TITLE_MODEL or session.model or default_model()
    return "" if model == DEMO else str(model)


def do_ask_for_title(session: Session, turn: Turn) -> None:
    """Have the session named after this transaction, if that is due. The caller holds the session lock.

    Due is a session that nobody named yet, after its first answers and its first pause; and one that a model
    named, each time that the person has sent ``COPILOT_TITLE_REFRESH`` messages more.
    """
    if session.temporary or session.title_source == Session.TitleSource.PERSON or not title_model(session):
        return
    if session.parent_id is not None:
        return  # an agent's helper: there may be many, and what it was told to do says enough
    again = session.title_source == Session.TitleSource.MODEL
    if _refresh_is_due(session, turn) if again else session.accepted <= MESSAGES_MAX:
        transaction.on_commit(lambda: send_title_task(session.pk, again=again), robust=True)


def _refresh_is_due(session: Session, turn: Turn) -> bool:
    every = settings.COPILOT_TITLE_REFRESH
    if not every:
        return False
    said = Message.objects.shown().filter(session=session, role=Message.Role.USER, seq__isnull=False)
    count = said.count()
    return bool(count // every > (count - said.filter(turn=turn).count()) // every)


@transact
def replace_title(session_id: uuid.UUID, *, seen: str, title: str, source: str) -> bool:
    """Give a session another title, if it still has the one that was seen and a person did not choose it.

    Open pages are told; the place in the list of recent sessions stays. Returns whether it was replaced.
    """
    named = Session.objects.filter(pk=session_id, title=seen).exclude(title_source=Session.TitleSource.PERSON)
    if not named.update(title=title, title_source=source, revision=F("revision") + 1):
        return False
    announce(session_id, Session.objects.values_list("user_id", flat=True).get(pk=session_id))
    return True
