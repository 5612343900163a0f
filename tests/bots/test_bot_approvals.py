"""Decisions that come through a bot: of the one identity that the owner linked, recorded as the owner's."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from approvals.decisions import Wish
from approvals.models import Action, AuditEntry, Rule
from common.db import db
from copilot.models import Session, Turn, User
from linking import bot_approvals
from linking.bot_approvals import surface_of
from linking.models import Bot
from tests.approvals.asking import People, note, written
from tests.approvals.waiting import everything, for_each, notes, overdue, pause_at, submit, turn_of
from tests.bots.places import STRANGER_ID, Linked, link_private, link_server
from tests.factories import Holder, hold, make_session, make_turn
from tests.harness import Crew
from tests.linking.conftest import USER_ID
from tests.turns.racing import race

rows = pytest.mark.django_db
real = pytest.mark.django_db(transaction=True)


@pytest.fixture
def server(user: User) -> Linked:
    """A server whose bot may pass on decisions."""
    return link_server(user, scopes=("approve",))


@pytest.fixture
def private(user: User) -> Linked:
    """Private messages whose bot may pass on decisions."""
    return link_private(user, scopes=("approve",))


def waiting(place: Linked, identity: str = STRANGER_ID, **over: Any) -> Action:
    """Return what a turn in a linked place waits for, after somebody asked for a note."""
    return pause_at(hold(place.turn(platform_user_id=identity, **over)), *notes("hello"))


def decide(place: Linked, action: Action, identity: str = USER_ID, kind: str = "approve", **over: Any) -> Any:
    """Have the bot pass on a decision."""
    body = {"platform_user_id": identity, "decisions": for_each(action, kind), **over}
    return place.api.post(f"approvals/{action.pk}/decide", body)


def refused(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


# --- who ----------------------------------------------------------------------------------------


@rows
def test_the_owners_identity_decides_and_it_is_recorded_as_theirs(server: Linked, user: User) -> None:
    action = waiting(server)
    answer = decide(server, action)
    assert answer.status_code == 200
    shown = answer.json()
    assert (shown["status"], shown["decided_by"], shown["surface"]) == ("decided", "ada", "discord")
    entry = AuditEntry.objects.get()
    assert (entry.user, entry.actor, entry.surface, entry.decision) == (user, "ada", "discord", "approve")
    assert turn_of(action).status == "queued"


@rows
@pytest.mark.parametrize(
    "identity", [STRANGER_ID, USER_ID.upper(), f"{USER_ID} ", "ada", "ada_k"], ids=lambda value: repr(value)[:12]
)
def test_for_anybody_else_there_is_no_such_thing(server: Linked, identity: str) -> None:
    action = waiting(server)
    before = everything()
    assert refused(decide(server, action, identity)) == (404, "not_found")
    assert refused(decide(server, action, identity, decisions=[])) == (404, "not_found")
    assert everything() == before


@rows
def test_the_control_without_the_look_at_who_decides_a_stranger_does(
    server: Linked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bot_approvals, "is_owner", lambda link, identity: True)
    assert decide(server, waiting(server), STRANGER_ID).status_code == 200


@rows
@pytest.mark.parametrize("identity", ["", None], ids=["empty", "null"])
def test_a_decision_of_nobody_is_none(server: Linked, identity: Any) -> None:
    action = waiting(server)
    assert refused(decide(server, action, identity)) == (400, "invalid")
    body = {"decisions": for_each(action, "approve")}
    assert refused(server.api.post(f"approvals/{action.pk}/decide", body)) == (400, "invalid")


@rows
def test_in_a_server_that_nobody_is_known_to_have_asked_for_nobody_decides(user: User) -> None:
    server = link_server(user, scopes=("approve",), asked_by="")
    assert refused(decide(server, waiting(server))) == (404, "not_found")


@rows
@pytest.mark.parametrize("identity", [USER_ID, "dm-1"])
def test_in_private_the_linked_person_decides(user: User, identity: str) -> None:
    private = link_private(user, scopes=("approve",), platform_id="dm-1")
    action = waiting(private, "")
    assert refused(decide(private, action, STRANGER_ID)) == (404, "not_found")
    assert decide(private, action, identity).status_code == 200


@rows
def test_a_bots_key_cannot_decide_unless_it_may(user: User) -> None:
    server = link_server(user)
    action = waiting(server)
    for body in ({"platform_user_id": USER_ID, "decisions": for_each(action, "approve")}, {}):
        assert refused(server.api.post(f"approvals/{action.pk}/decide", body)) == (403, "scope")
    assert refused(server.api.post("approvals/nothing/decide", {})) == (403, "scope")
    assert server.api.get("approvals").json()["results"][0]["id"] == str(action.pk)


@rows
def test_staff_on_the_platform_are_strangers_like_others(server: Linked, user: User) -> None:
    """Being staff here says nothing there, and the identity that linked the server is not replaced by it."""
    User.objects.filter(pk=user.pk).update(is_staff=True, is_superuser=True)
    assert refused(decide(server, waiting(server), STRANGER_ID)) == (404, "not_found")


# --- whose threads ------------------------------------------------------------------------------


@rows
def test_a_bot_sees_and_decides_nothing_of_other_bots(server: Linked, user: User) -> None:
    """Not in the same server of the same owner either, nor what the owner asks for on the page."""
    other = link_server(user, bot="other", scopes=("approve",))
    theirs, owners = waiting(other), pause_at(hold(make_turn(make_session(user))), *notes("hello"))
    before = everything()
    for action in (theirs, owners):
        assert refused(decide(server, action)) == (404, "not_found")
    for unknown in (uuid.uuid4(), "nothing", "%00", "..%2F"):
        answer = server.api.post(f"approvals/{unknown}/decide", {"platform_user_id": USER_ID, "decisions": []})
        assert refused(answer) == (404, "not_found")
    assert everything() == before
    for status in ("", "?status=pending", "?status=decided"):
        assert server.api.get(f"approvals{status}").json()["results"] == []
    assert [shown["id"] for shown in other.api.get("approvals").json()["results"]] == [str(theirs.pk)]


@real
def test_after_unlinking_nobody_decides_there(server: Linked) -> None:
    action = waiting(server)
    server.unlink()
    assert refused(decide(server, action)) == (404, "not_found")
    assert server.api.get("approvals").json()["results"] == []
    action.refresh_from_db()
    assert action.status == "cancelled"


@rows
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_what_a_child_of_a_thread_asks_is_the_threads(server: Linked, depth: int) -> None:
    session = server.turn().session
    for level in range(1, depth + 1):
        session = Session.objects.create(
            user=session.user, parent=session, parent_call=uuid.uuid4(), depth=level, updated_at=session.updated_at
        )
    action = pause_at(_hold(make_turn(session)), *notes("hello"))
    [shown] = server.api.get("approvals?status=pending").json()["results"]
    assert (shown["id"], shown["session"]) == (str(action.pk), str(session.pk))
    assert "always" not in shown["scopes"]
    assert refused(decide(server, action, STRANGER_ID)) == (404, "not_found")
    assert decide(server, action).status_code == 200


def _hold(turn: Turn) -> Holder:
    """Have a worker claim a turn while others wait."""
    Turn.objects.exclude(pk=turn.pk).update(not_before="2100-01-01T00:00Z")
    return hold(turn)


# --- what ---------------------------------------------------------------------------------------


@rows
def test_the_list_is_what_people_get_of_it(server: Linked) -> None:
    first, second = waiting(server, thread_id="a"), waiting(server, thread_id="b")
    decide(server, first)
    assert [shown["id"] for shown in server.api.get("approvals?status=pending").json()["results"]] == [
        str(second.pk)
    ]
    assert [shown["id"] for shown in server.api.get("approvals?status=decided").json()["results"]] == [
        str(first.pk)
    ]
    page = server.api.get("approvals?limit=1").json()
    assert ([shown["id"] for shown in page["results"]], bool(page["next"])) == ([str(second.pk)], True)
    assert refused(server.api.get("approvals?status=x")) == (400, "invalid")


@rows
def test_a_decision_for_all_sessions_is_not_made_in_a_server(server: Linked) -> None:
    action = waiting(server, USER_ID)
    assert action.scopes == ["once", "session", "always"], "it is the owner's own turn"
    assert server.api.get("approvals").json()["results"][0]["scopes"] == ["once", "session"]
    assert refused(decide(server, action, scope="always")) == (400, "not_allowed")
    assert not Rule.objects.exists()
    assert decide(server, action, scope="session").status_code == 200
    assert Rule.objects.get().session == action.session


@rows
def test_in_private_it_is(private: Linked, user: User) -> None:
    action = waiting(private, "")
    assert private.api.get("approvals").json()["results"][0]["scopes"] == ["once", "session", "always"]
    assert decide(private, action, scope="always").status_code == 200
    assert (Rule.objects.get().user, Rule.objects.get().session) == (user, None)


@rows
def test_nothing_is_remembered_of_what_a_stranger_asked_for(server: Linked) -> None:
    action = waiting(server)
    for scope in ("session", "always"):
        assert refused(decide(server, action, scope=scope)) == (400, "not_allowed")
    assert decide(server, action, scope="once").status_code == 200


@rows
def test_decisions_are_checked_as_everywhere(server: Linked) -> None:
    action, late = waiting(server), waiting(server, thread_id="b")
    assert refused(decide(server, action, decisions=[])) == (400, "incomplete")
    assert refused(decide(server, action, model="x")) == (400, "unknown_field")
    assert refused(decide(server, action, kind="edit")) == (400, "invalid")
    submit(action, _approval(action))
    assert refused(decide(server, action, kind="reject")) == (409, "already_decided")
    overdue(late)
    assert refused(decide(server, late)) == (409, "expired")


def _approval(action: Action) -> Wish:
    return Wish(decisions=for_each(action, "approve"))


@rows
def test_the_same_decision_again_is_harmless(server: Linked) -> None:
    action = waiting(server)
    assert [decide(server, action).status_code for _ in range(2)] == [200, 200]
    assert AuditEntry.objects.count() == 1


@rows
@pytest.mark.parametrize(
    ("platform", "surface"),
    [
        ("discord", "discord"),
        ("web", "bot"),
        ("api", "bot"),
        ("a-platform-with-a-long-name", "a-platform-with-a-lo"),
    ],
)
def test_a_platform_passes_for_no_surface_of_ours(platform: str, surface: str) -> None:
    assert surface_of(Bot(platform=platform)) == surface


@real
def test_of_page_and_platform_one_decides(server: Linked) -> None:
    action = waiting(server)
    outcomes = race(lambda: submit(action, _approval(action)), lambda: decide(server, action, kind="reject"))
    action.refresh_from_db()
    assert (action.status, AuditEntry.objects.count()) == ("decided", 1)
    assert (outcomes[1].status_code == 200) == (action.surface == "discord")


@pytest.mark.parametrize("count", [1, 30])
@rows
def test_the_list_costs_the_same_however_much_is_on_it(
    server: Linked, count: int, django_assert_num_queries: Any
) -> None:
    for number in range(count):
        waiting(server, thread_id=f"t{number}")
    server.api.get("approvals")
    # The key; the actions; which of them are a server's.
    with django_assert_num_queries(3):
        assert len(server.api.get("approvals?status=pending").json()["results"]) == count


# --- from end to end ----------------------------------------------------------------------------


@real
async def test_what_the_owner_always_allows_asks_when_a_stranger_wants_it(
    crew: Crew, people: People, server: Linked
) -> None:
    """And only the owner may allow it there."""
    await crew.hire()
    turn = await db(lambda: server.turn(note("mine"), platform_user_id=USER_ID))
    turn, action = await people.asked(turn)
    assert (await db(lambda: decide(server, action, scope="session"))).status_code == 200
    await crew.ended(turn)
    second = await crew.ended(await db(lambda: server.turn(note("mine again"), platform_user_id=USER_ID)))
    assert second.status == "completed"
    assert written(turn.session_id) == ["mine", "mine again"], "the owner is not asked any more"

    strangers = await db(lambda: server.turn(note("theirs"), platform_user_id=STRANGER_ID))
    strangers, asked = await people.asked(strangers)
    assert refused(await db(lambda: decide(server, asked, STRANGER_ID))) == (404, "not_found")
    assert written(turn.session_id) == ["mine", "mine again"]
    assert (await db(lambda: decide(server, asked))).status_code == 200
    await crew.ended(strangers)
    assert written(turn.session_id) == ["mine", "mine again", "theirs"]
