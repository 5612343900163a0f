"""What bots are told: all that happens in their threads, written exactly if it happened, and nothing of others."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.db import transaction

from approvals import actions
from approvals.models import Action
from copilot.models import Session, Turn, User
from copilot.turns.cancel import request_stop
from linking.bot_turns import Place, send_to_thread
from linking.bots import register_bot
from linking.links import unlink
from linking.models import Bot, ServerLink, UserLink, WebhookDelivery
from linking.webhooks.events import EVENTS
from linking.webhooks.registration import set_webhook
from tests.approvals.asking import decide_now
from tests.approvals.waiting import for_each, notes, pause_at, submit, waiting
from tests.factories import Holder, accept, hold, make_running, make_session
from tests.linking.receiving import DOCS, Told, receiver, told

__all__ = ["receiver", "told"]

pytestmark = pytest.mark.django_db

THREAD = {"kind": "server", "platform_id": "kites", "thread_id": "general"}


@pytest.fixture
def link(told: Told, user: User) -> ServerLink:
    return ServerLink.objects.create(bot=told.bot, platform_id="kites", owner=user, asked_by="ada")


@pytest.fixture
def say(told: Told, link: ServerLink) -> Callable[..., Holder]:
    """Return a function that has somebody write in the thread, and a worker take the turn."""
    WebhookDelivery.objects.all().delete()  # of the link

    def say(text: str = "hello") -> Holder:
        place = Place(bot=told.bot, kind="server", platform_id="kites", thread_id="general")
        turn = send_to_thread(place, text=text, platform_user_id="ada", author="Ada").turn
        assert turn is not None
        return hold(Turn.objects.get(pk=turn.pk))

    return say


def events(told: Told) -> list[tuple[str, dict[str, Any]]]:
    """Return what the bot is told, in order."""
    return [(each.event, json.loads(each.body)["data"]) for each in told.deliveries]


def test_the_end_of_a_turn_is_told(told: Told, say: Callable[..., Holder]) -> None:
    holder = say()
    assert not events(told)
    holder.answer()
    turn = holder.turn
    data = {"turn": str(turn.pk), "session": str(turn.session_id), "status": "completed", "outcome": "stop"}
    assert events(told) == [("turn.ended", {**data, "thread": THREAD})]


def test_the_turn_that_takes_what_waited_is_named(told: Told, say: Callable[..., Holder]) -> None:
    holder = say()
    accept(holder.session, "And then?", origin="bot")
    following = holder.answer()
    [(_, data)] = events(told)
    assert data["next_turn"] == str(following)


def test_a_stop_is_told(told: Told, say: Callable[..., Holder], user: User) -> None:
    holder = say()
    holder.hand_back()
    request_stop(user=user, session_id=holder.session.pk, turn_id=holder.turn.pk, reason="stopped")
    [(event, data)] = events(told)
    assert (event, data["status"], data["outcome"]) == ("turn.ended", "cancelled", "stopped")


def test_what_is_asked_and_decided_is_told(told: Told, say: Callable[..., Holder]) -> None:
    action = pause_at(say(), *notes("a secret text"))
    submit(action, actions.Wish(decisions=for_each(action, "approve")))
    (asked, at_first), (decided, then) = events(told)
    assert (asked, decided) == ("approval.asked", "approval.decided")
    same = {
        "approval": str(action.pk),
        "kind": "tool_approval",
        "turn": str(action.turn),
        "session": str(action.session),
        "thread": THREAD,
    }
    assert at_first.pop("expires_at").endswith("Z")
    assert at_first == {**same, "status": "pending"}
    assert then == {**same, "status": "decided"}


def test_what_a_child_of_the_thread_asks_is_told(told: Told, say: Callable[..., Holder], user: User) -> None:
    child = make_session(user)
    Session.objects.filter(pk=child.pk).update(parent=say().session, depth=1, parent_call=child.pk)
    action = waiting(session=child)
    [(event, data)] = events(told)
    assert (event, data["approval"], data["thread"]) == ("approval.asked", str(action.pk), THREAD)


def test_what_ran_out_is_told_with_the_end_of_its_turn(told: Told, say: Callable[..., Holder]) -> None:
    action = pause_at(say(), *notes("hello"))
    Action.objects.filter(pk=action.pk).update(expires_at=action.created_at)
    assert actions.expire(action.pk)
    assert [event for event, _ in events(told)][1:] in (
        ["approval.expired", "turn.ended"],
        ["turn.ended", "approval.expired"],
    )


def test_what_does_not_matter_any_more_is_told(told: Told, say: Callable[..., Holder], user: User) -> None:
    action = pause_at(say(), *notes("hello"))
    request_stop(user=user, session_id=action.session, turn_id=action.turn, reason="stopped")
    assert sorted(event for event, _ in events(told)) == ["approval.asked", "approval.cancelled", "turn.ended"]


def test_links_that_come_and_go_are_told(told: Told, user: User) -> None:
    server = ServerLink.objects.create(bot=told.bot, platform_id="kites", owner=user, asked_by="ada")
    private = UserLink.objects.create(bot=told.bot, platform_id="ada", owner=user)
    also = {"link": str(private.pk), "kind": "user", "platform_id": "ada"}
    unlink(user=user, link_id=server.pk)
    private.delete()
    about = {"link": str(server.pk), "kind": "server", "platform_id": "kites", "platform_user_id": "ada"}
    assert events(told) == [
        ("link.made", about),
        ("link.made", also),
        ("link.removed", about),
        ("link.removed", also),
    ]


def test_links_that_go_with_their_owner_are_told(told: Told, link: ServerLink, user: User) -> None:
    user.delete()
    assert [event for event, _ in events(told)] == ["link.made", "link.removed"]


@pytest.mark.django_db(transaction=True)
def test_a_bot_that_is_deleted_takes_all_of_it_along(told: Told, link: ServerLink) -> None:
    Bot.objects.filter(pk=told.bot.pk).delete()
    assert not WebhookDelivery.objects.exists()


def test_what_people_do_in_the_page_is_not_told(told: Told, link: ServerLink, user: User) -> None:
    WebhookDelivery.objects.all().delete()
    make_running(make_session(user)).answer()
    action = waiting(session=make_session(user))
    decide_now(action, "reject")
    assert not events(told)


def test_another_bot_is_told_nothing_of_it(told: Told, say: Callable[..., Holder]) -> None:
    other, _ = register_bot(name="other", platform="discord")
    set_webhook(bot=other, url="https://other.example.org/")
    say().answer()
    assert not WebhookDelivery.objects.filter(webhook__bot=other).exists()
    assert len(events(told)) == 1


@pytest.mark.django_db(transaction=True)
def test_what_did_not_happen_is_not_told(told: Told, say: Callable[..., Holder]) -> None:
    holder = say()
    with transaction.atomic():
        holder.answer()
        assert len(events(told)) == 1
        transaction.set_rollback(True)
    assert not events(told)


def test_nothing_that_was_written_is_told(told: Told, say: Callable[..., Holder]) -> None:
    holder = say("the word is xylophone")
    holder.begin()
    holder.say("You said xylophone.")
    holder.finish()
    action = pause_at(say("xylophone"), *notes("xylophone"))
    decide_now(action, "reject", reason="no xylophone")
    bodies = [each.body for each in told.deliveries]
    assert len(bodies) == 3
    assert "xylophone" not in str(bodies)
    assert "xylophone" in str(list(Session.objects.get(pk=action.session).messages.values_list("parts")))


def test_a_turn_of_a_person_costs_no_query_more(told: Told, user: User, django_assert_num_queries: Any) -> None:
    from copilot.signals import turn_ended

    turn = make_running(make_session(user)).turn
    with django_assert_num_queries(0):
        turn_ended.send(Turn, turn=turn, status="completed", outcome="stop", next_turn=None)


def test_every_event_is_documented() -> None:
    text = DOCS.read_text()
    assert [event for event in EVENTS if f"`{event}`" not in text] == []
