"""Two at once: over a thread that begins, and over a link that ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from common.errors import NotFound
from copilot.models import Message, Session, Turn
from copilot.turns.submit import Accepted
from linking import bot_turns, links, threads
from linking.bot_turns import NotLinked
from linking.models import Thread
from tests.bots.places import Linked
from tests.factories import fresh, hold, make_turn
from tests.turns.racing import Between, guarded, meet, race

pytestmark = pytest.mark.django_db(transaction=True)

ROUNDS = 10


@pytest.mark.parametrize("same", [False, True], ids=["two messages", "one message twice"])
def test_two_first_messages_of_a_thread_make_one_session(server: Linked, same: bool) -> None:
    for number in range(ROUNDS):
        ids = ["m"] * 2 if same else ["a", "b"]
        acts: list[Callable[[], Any]] = [
            lambda client_id=client_id, thread=f"t{number}": server.say(thread_id=thread, client_id=client_id)
            for client_id in ids
        ]
        outcomes = race(*acts)
        assert [type(outcome) for outcome in outcomes] == [Accepted, Accepted]
        session = server.session(f"t{number}")
        assert session.messages.filter(role="user").count() == (1 if same else 2)
        assert session.turns.count() == 1
    assert Session.objects.count() == Thread.objects.count() == ROUNDS


@pytest.mark.scaled
@guarded
def test_without_the_lock_two_begin_a_thread(
    server: Linked, monkeypatch: pytest.MonkeyPatch, guarded: bool
) -> None:
    """The control: without it the constraint is all that is left, and one of the two messages is refused."""
    if not guarded:
        monkeypatch.setattr(threads, "do_lock_link", lambda link: link)
        meet(monkeypatch, threads, "create_session")
    outcomes = race(lambda: server.say(client_id="a"), lambda: server.say(client_id="b"))
    accepted = [outcome for outcome in outcomes if isinstance(outcome, Accepted)]
    assert len(accepted) == (2 if guarded else 1)
    assert Session.objects.count() == Thread.objects.count() == 1


def test_unlinking_stops_what_the_bot_asked_for_and_refuses_what_comes(server: Linked) -> None:
    running, queued = hold(server.turn(thread_id="a")), server.turn(thread_id="b")
    server.unlink()
    assert running.turn.stop_requested_at is not None
    assert (fresh(queued).status, fresh(queued).outcome) == ("cancelled", "stopped")
    assert not Thread.objects.exists()
    assert Session.objects.count() == 2, "what was said stays its owner's"
    with pytest.raises(NotLinked):
        server.say(thread_id="a")


@pytest.mark.parametrize("way", ["one", "several"])
def test_removing_a_link_in_the_admin_is_unlinking(server: Linked, admin_client: Client, way: str) -> None:
    turn = server.turn()
    path = f"/admin/linking/serverlink/{server.link.pk}/delete/" if way == "one" else "/admin/linking/serverlink/"
    chosen = {"action": "delete_selected", "_selected_action": str(server.link.pk)} if way == "several" else {}
    assert admin_client.post(path, {"post": "yes", **chosen}).status_code == 302
    assert not type(server.link)._default_manager.exists()
    assert (fresh(turn).status, fresh(turn).outcome) == ("cancelled", "stopped")


def test_unlinking_leaves_what_the_owner_asked_for_on_the_page(server: Linked) -> None:
    server.say()
    Turn.objects.update(status="completed", finished_at="2026-01-01T00:00Z", outcome="stop", last_seq=1)
    Message.objects.filter(state="open").update(state="done")
    turn = make_turn(server.session())
    server.unlink()
    assert (fresh(turn).status, fresh(turn).stop_requested_at) == ("queued", None)


def test_whoever_links_the_place_next_begins_with_sessions_of_their_own(server: Linked, other_user: Any) -> None:
    before = server.turn(thread_id="a").session
    server.unlink()
    server.link.pk, server.link.owner = None, other_user
    server.link.id = Thread._meta.pk.get_default()  # type: ignore[attr-defined]
    server.link.save(force_insert=True)
    after = server.turn(thread_id="a").session
    assert (before.user == after.user, before.pk == after.pk) == (False, False)
    assert after.user == other_user


@guarded
@pytest.mark.parametrize("thread", ["old", "new"])
def test_a_message_while_the_link_ends_starts_nothing_that_goes_on(
    server: Linked, between: Between, monkeypatch: pytest.MonkeyPatch, guarded: bool, thread: str
) -> None:
    """The link is found, then it ends, then the message is accepted: it is refused, or its turn is stopped."""
    server.say(thread_id="old")
    hold(Turn.objects.get()).answer()
    monkeypatch.setattr(bot_turns, "link_of", between.after(bot_turns.link_of))
    if not guarded:
        # What finds out that the thread ended, and what keeps one from beginning.
        monkeypatch.setattr(bot_turns, "do_lock_thread", lambda link, name: _unguarded(server, name))
        session = server.session("old")
        monkeypatch.setattr(server, "session", lambda name: session)
    outcomes = race(lambda: server.say("late", thread_id=thread), between.other(server.unlink))
    live = Turn.objects.live().filter(stop_requested_at__isnull=True)
    assert outcomes[1] is None
    assert live.exists() != guarded
    if guarded:
        assert isinstance(outcomes[0], NotLinked)
        assert Session.objects.count() == 1, "nor is an empty session left"


def _unguarded(server: Linked, name: str) -> Session:
    return Session.objects.select_related("user").locked().get(pk=server.session(name).pk)


def test_a_message_that_is_being_accepted_while_the_link_ends_is_stopped(
    server: Linked, between: Between, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other order: it was in time, so its turn began, and is stopped with the others."""
    server.say()
    hold(Turn.objects.get()).answer()
    monkeypatch.setattr(bot_turns, "do_lock_thread", between.after(bot_turns.do_lock_thread))
    outcomes = race(lambda: server.say("in time"), between.other(server.unlink))
    assert isinstance(outcomes[0], Accepted)
    assert outcomes[1] is None
    assert not Turn.objects.live().filter(stop_requested_at__isnull=True).exists()


@guarded
def test_two_who_unlink_at_once(server: Linked, monkeypatch: pytest.MonkeyPatch, guarded: bool) -> None:
    server.say()
    if not guarded:
        monkeypatch.setattr(links, "do_lock_link", lambda link: link)
    outcomes = race(server.unlink, server.unlink)
    refused = [outcome for outcome in outcomes if isinstance(outcome, NotFound)]
    assert len(refused) == 1 if guarded else len(refused) <= 1
