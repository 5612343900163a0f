"""Titles that a model gives: to that session, while it is still called what the model saw."""

from __future__ import annotations

from typing import Any

import pytest

from copilot.models import Session
from copilot.turns import naming
from copilot.turns.naming import do_ask_for_title, replace_title
from copilot.turns.recover import _worker_lost
from copilot.turns.sessions import update_session
from tests.factories import accept, fresh, make_running, make_session

pytestmark = pytest.mark.django_db


def named(title: str) -> Session:
    """Return a session that a model has given its title."""
    session = make_session()
    Session.objects.filter(pk=session.pk).update(title=title, title_source="model")
    return fresh(session)


def test_a_title_is_replaced_in_that_session_only() -> None:
    one, other = named("Same"), named("Same")
    assert replace_title(one.pk, seen="Same", title="Better", source="model") is True
    assert [fresh(each).title for each in (one, other)] == ["Better", "Same"]


@pytest.mark.parametrize("by", ["person", "model"])
def test_a_title_that_was_changed_meanwhile_stays(by: str) -> None:
    session = named("Seen")
    if by == "person":
        update_session(user=session.user, session_id=session.pk, title="Mine")
    else:
        Session.objects.filter(pk=session.pk).update(title="Newer", title_source=by)
    now = fresh(session)
    assert replace_title(session.pk, seen="Seen", title="Late", source="model") is False
    assert (fresh(session).title, fresh(session).revision) == (now.title, now.revision)


def test_messages_that_wait_do_not_bring_a_new_title_nearer(
    settings: Any, monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
) -> None:
    """The second message is due for it; one that is queued is not said yet."""
    asked = []
    monkeypatch.setattr(naming, "send_title_task", lambda session_id, again: asked.append(again))
    settings.COPILOT_TITLE_REFRESH, settings.COPILOT_TITLE_MODEL = 2, "openai/small"
    holder = make_running(named("Named"))
    accept(holder.session, "and this")
    with django_capture_on_commit_callbacks(execute=True):
        do_ask_for_title(holder.session, holder.turn)
    assert asked == []
    holder.answer()
    with django_capture_on_commit_callbacks(execute=True):
        do_ask_for_title(holder.session, holder.session.turns.get(status="queued"))
    assert asked == [True]


def test_a_turn_whose_workers_were_lost_can_be_sent_again() -> None:
    assert _worker_lost(make_running().turn).error["retryable"] is True  # type: ignore[index]
