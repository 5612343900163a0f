"""A transition that fails half-way has not happened: no message is lost, doubled or left without a turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import transaction

from common import db as database
from copilot.events.log import EventBatch
from copilot.models import Message, Turn
from copilot.turns import begin, claim, finish, submit
from copilot.turns.cancel import request_stop
from copilot.turns.recover import take_over
from copilot.turns.submit import deliver_queued, withdraw_queued
from tests.factories import Holder, accept, claim_next, expire_lease, make_running, make_session
from tests.turns.racing import guarded, stranded
from tests.turns.test_late_workers import rows

pytestmark = pytest.mark.django_db(transaction=True)


class Broken(Exception):
    """What happens half-way."""


def breaks(*args: Any, **kwargs: Any) -> None:
    raise Broken


@contextmanager
def committing_anyway() -> Iterator[None]:
    """A transaction that keeps what was done before it failed."""
    with transaction.atomic():
        failure = None
        try:
            yield
        except Broken as error:
            failure = error
    if failure is not None:
        raise failure


def running() -> Holder:
    """A turn in the middle, and two messages that wait for it."""
    holder = make_running()
    holder.begin()
    for text in ("and this?", "and that?"):
        assert accept(holder.session, text).queued
    return holder


def held() -> Holder:
    """The same, stopped."""
    holder = running()
    request_stop(user=holder.session.user, session_id=holder.session.id, turn_id=None, reason="stopped")
    holder.finish()
    return holder


def lost() -> Holder:
    holder = running()
    expire_lease(holder.claim.turn_id)
    return holder


def idle() -> Holder:
    holder = make_running()
    holder.answer()
    return holder


def queued() -> Holder:
    holder = idle()
    accept(holder.session, "and this?")
    return holder


Step = tuple[Callable[[], Holder], tuple[Any, str], Callable[[Holder], object]]
#: What there is, where it breaks, and what is done.
TRANSITIONS: dict[str, Step] = {
    "accept": (idle, (begin, "dispatch_on_commit"), lambda holder: accept(holder.session, "hello")),
    "queue": (running, (submit, "do_touch_session"), lambda holder: accept(holder.session, "hello")),
    "deliver": (
        held,
        (begin, "dispatch_on_commit"),
        lambda holder: deliver_queued(user=holder.session.user, session_id=holder.session.id),
    ),
    "withdraw": (
        running,
        (submit, "do_touch_session"),
        lambda holder: withdraw_queued(
            user=holder.session.user, session_id=holder.session.id, message_id=Message.objects.queued()[0].pk
        ),
    ),
    "finish and go on": (running, (finish, "do_touch_session"), lambda holder: holder.finish()),
    "finish, at its event": (running, (EventBatch, "write"), lambda holder: holder.finish()),
    "take over": (lost, (EventBatch, "write"), lambda holder: take_over(holder.claim.turn_id, lease=60)),
    "claim": (queued, (claim, "journal_each"), lambda holder: claim_next(holder.claim.turn_id)),
}


@pytest.mark.parametrize("name", TRANSITIONS)
@guarded
def test_what_fails_half_way_has_not_happened(name: str, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare, (owner, function), act = TRANSITIONS[name]
    holder = prepare()
    before = rows()
    if not guarded:
        monkeypatch.setattr(database, "_transaction", committing_anyway)
    with monkeypatch.context() as patch:
        patch.setattr(owner, function, breaks)
        with pytest.raises(Broken):
            act(holder)
    assert (rows() == before) is guarded


def test_what_waited_is_delivered_by_the_next_try(monkeypatch: pytest.MonkeyPatch) -> None:
    holder = running()
    with monkeypatch.context() as patch:
        patch.setattr(finish, "do_touch_session", breaks)
        with pytest.raises(Broken):
            holder.finish()
    assert not stranded()
    assert holder.finish() is not None
    texts = [message.text for message in Turn.objects.live().get().messages.filter(role="user").order_by("seq")]
    assert texts == ["and this?", "and that?"]


def test_a_session_is_not_left_with_a_message_and_no_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    session = make_session()
    with monkeypatch.context() as patch:
        patch.setattr(begin, "journal", breaks)
        with pytest.raises(Broken):
            accept(session, "hello", client_id="c1")
    assert not Message.objects.exists()
    assert not accept(session, "hello", client_id="c1").repeated
