"""What is said in linked places: whose session it is, who pays, who stands for whom, what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from copilot.models import Message, Session, Turn, User
from copilot.people import change_person
from linking.links import allow_personal
from linking.models import ServerLink, Thread, UserLink
from linking.models.links import PLATFORM_ID_MAX
from tests.bots.places import STRANGER_ID, Linked, link_private, link_server
from tests.factories import accept, fresh, hold, make_session
from tests.linking.conftest import SERVER_ID, USER_ID

pytestmark = pytest.mark.django_db


def refused(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def standing(turn: Turn) -> tuple[bool, bool]:
    """Return whether a turn runs as its owner's own, and whether what is personal is lent to it."""
    return turn.settings["policy"].get("in_person", False), turn.settings.get("lent", False)


# --- one session a thread -----------------------------------------------------------------------


def test_a_message_begins_a_turn_that_the_owner_pays(server: Linked, user: User) -> None:
    answer = server.post("hello", author="Grace", platform_user_id=STRANGER_ID)
    assert answer.status_code == 202
    body = answer.json()
    turn = Turn.objects.get()
    assert (turn.user, turn.session.user, turn.origin, turn.author) == (user, user, "bot", "Grace")
    assert (body["queued"], body["turn"]["id"], body["turn"]["origin"]) == (False, str(turn.pk), "bot")
    assert (body["message"]["author"], body["message"]["parts"]) == ("Grace", [{"type": "text", "text": "hello"}])
    assert turn.session.title == "hello"


def test_each_thread_has_one_session(server: Linked) -> None:
    for thread in ("a", "b", "", "a", "", "b"):
        server.say(thread_id=thread)
    assert (Session.objects.count(), Thread.objects.count(), Turn.objects.count()) == (3, 3, 3)
    assert [server.session(thread).messages.filter(role="user").count() for thread in ("a", "b", "")] == [2, 2, 2]


@pytest.mark.parametrize("absent", [{}, {"thread_id": ""}, {"thread_id": None}], ids=["left out", "empty", "null"])
def test_a_place_without_threads_has_one(server: Linked, absent: dict[str, Any]) -> None:
    server.say()
    assert server.post(**absent).json()["queued"]
    assert Session.objects.count() == 1


def test_a_busy_thread_queues(server: Linked) -> None:
    holder = hold(server.turn())
    waits = server.post("and this", author="Grace", client_id="m1").json()
    assert {name: waits[name] for name in ("queued", "position", "delivery", "waiting_for")} == {
        "queued": True,
        "position": 1,
        "delivery": "asap",
        "waiting_for": "turn",
    }
    assert (waits["message"]["author"], waits["message"]["seq"]) == ("Grace", None)
    following = Turn.objects.get(pk=holder.answer())
    again = server.post("and this", author="Grace", client_id="m1")
    assert (again.status_code, again.json()["turn"]["id"]) == (200, str(following.pk))


def test_a_client_id_counts_once_in_a_thread_and_again_in_another(server: Linked) -> None:
    first = server.post(client_id="m1")
    again = server.post(client_id="m1", author="renamed meanwhile")
    assert (first.status_code, again.status_code) == (202, 200)
    assert again.json()["message"]["id"] == first.json()["message"]["id"]
    assert refused(server.post("another", client_id="m1")) == (409, "client_id_reused")
    assert server.post(client_id="m1", thread_id="b").status_code == 202
    assert Turn.objects.count() == 2


def test_a_thread_whose_session_was_deleted_begins_anew(server: Linked) -> None:
    server.say(client_id="m1")
    Session.objects.get().delete()
    assert server.post(client_id="m1").status_code == 202
    assert Session.objects.count() == Thread.objects.count() == 1


def test_nothing_is_left_of_a_first_message_that_is_refused(server: Linked, settings: Any) -> None:
    settings.SEND_RATE = 1
    server.say()
    assert refused(server.post(thread_id="b")) == (429, "rate_limited")
    for problem in ({"text": " "}, {"client_id": "x" * 129}):
        assert refused(server.api.post("turns", {**server.body(thread_id="c"), **problem})) == (400, "invalid")
    assert (Session.objects.count(), Thread.objects.count(), Message.objects.count()) == (1, 1, 2)


def test_what_bots_and_people_send_counts_together(
    server: Linked, private: Linked, user: User, settings: Any
) -> None:
    settings.SEND_RATE = 3
    assert server.post().status_code == 202
    assert private.post().status_code == 202
    accept(make_session(user))
    for place in (server, private):
        answer = place.post("another")
        assert refused(answer) == (429, "rate_limited")
        assert int(answer["Retry-After"]) > 0


# --- links --------------------------------------------------------------------------------------


def test_what_is_not_linked_is_refused(server: Linked) -> None:
    for other in ({"platform_id": "another"}, {"kind": "user"}, {"kind": "user", "platform_id": USER_ID}):
        assert refused(server.post(**other)) == (403, "not_linked")
    assert not Session.objects.exists()


def test_the_owner_of_a_server_is_nobody_in_private_until_they_link_that(user: User) -> None:
    server = link_server(user)
    private = {"kind": "user", "platform_id": USER_ID, "platform_user_id": USER_ID}
    assert refused(server.post(**private)) == (403, "not_linked")
    link_private(user)
    assert server.post(**private).status_code == 202


def test_who_linked_their_private_messages_does_not_own_a_server(user: User) -> None:
    private = link_private(user)
    theirs = {"kind": "server", "platform_id": SERVER_ID, "platform_user_id": USER_ID}
    assert refused(private.post(**theirs)) == (403, "not_linked")
    # Not even one that is called as the person is.
    assert refused(private.post(**{**theirs, "platform_id": USER_ID})) == (403, "not_linked")


def test_a_link_of_another_bot_is_none(user: User) -> None:
    link_server(user)
    other = link_server(user, bot="other", platform_id="elsewhere")
    assert refused(other.post(platform_id=SERVER_ID)) == (403, "not_linked")


def test_nobody_answers_for_a_deactivated_owner(server: Linked, user: User) -> None:
    turn = server.turn()
    User.objects.filter(pk=user.pk).update(is_active=False)
    assert refused(server.post()) == (403, "not_linked")
    assert server.api.get("approvals").json()["results"] == []
    assert fresh(turn).status == "queued"


def test_two_places_of_an_owner_share_no_session(server: Linked, private: Linked) -> None:
    assert server.turn(thread_id="a").session_id != private.turn(thread_id="a").session_id


# --- who stands for whom ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("identity", "own"),
    [(USER_ID, True), (STRANGER_ID, False), ("", False), (USER_ID.upper(), False), (f"{USER_ID} ", False)],
    ids=["the owner", "a stranger", "nobody says", "another case", "with a blank"],
)
def test_in_a_server_the_owner_is_the_identity_that_asked_for_the_link(
    server: Linked, identity: str, own: bool
) -> None:
    assert standing(server.turn(platform_user_id=identity)) == (own, False)


def test_a_server_that_nobody_is_known_to_have_asked_for_has_no_owner_there(user: User) -> None:
    server = link_server(user, asked_by="")
    for identity in ("", USER_ID):
        assert standing(server.turn(platform_user_id=identity, thread_id=f"t{identity}")) == (False, False)


def test_a_link_may_lend_what_is_personal_to_strangers(user: User) -> None:
    server = link_server(user, allows_personal=True)
    change_person(user, instructions="Answer in French.", time_zone="Asia/Tokyo")
    lent = server.turn(platform_user_id=STRANGER_ID)
    own = server.turn(platform_user_id=USER_ID, thread_id="b")
    assert (standing(lent), standing(own)) == ((False, True), (True, False))
    assert lent.settings["personal"] == own.settings["personal"] == "Answer in French."
    assert (lent.settings["time_zone"], own.settings["time_zone"]) == ("", "Asia/Tokyo")


def test_what_a_link_lends_is_looked_up_for_each_message(user: User) -> None:
    server = link_server(user)
    assert standing(server.turn(thread_id="a")) == (False, False)
    ServerLink.objects.update(allows_personal=True)
    assert standing(server.turn(thread_id="b")) == (False, True)


def test_what_is_lent_no_more_is_lent_to_nothing_that_waits(user: User) -> None:
    server = link_server(user, allows_personal=True)
    change_person(user, instructions="Answer in French.")
    holder = hold(server.turn(platform_user_id=STRANGER_ID))
    server.say("and this", platform_user_id=STRANGER_ID)
    allow_personal(user=user, link_id=server.link.pk, allowed=False)
    following = Turn.objects.get(pk=holder.answer())
    assert (standing(following), following.settings["personal"]) == ((False, False), "")


@pytest.mark.parametrize("identity", ["", USER_ID], ids=["nobody says", "the person"])
def test_in_private_the_linked_person_writes(private: Linked, identity: str) -> None:
    assert standing(private.turn(platform_user_id=identity)) == (True, False)


def test_nobody_else_writes_in_private(private: Linked) -> None:
    assert refused(private.post(platform_user_id=STRANGER_ID)) == (403, "not_linked")
    assert not Message.objects.exists()


def test_the_identity_of_private_messages_may_have_an_id_of_its_own(user: User) -> None:
    """Where the platform has an id for the conversation, and another one for the person."""
    private = link_private(user, platform_id="dm-1", asked_by=USER_ID)
    for identity in ("", "dm-1", USER_ID):
        assert standing(private.turn(platform_user_id=identity, thread_id=f"t{identity}")) == (True, False)
    assert UserLink.objects.count() == 1


@pytest.mark.parametrize(
    ("identity", "given", "shown"),
    [
        (USER_ID, "Ada", "Ada"),
        (USER_ID, "", "ada_k"),
        (STRANGER_ID, "Bob", "Bob"),
        (STRANGER_ID, "", "Somebody"),
        (STRANGER_ID, "  Bob\n\u202eevil\u202c  ", "Bob evil"),
        (STRANGER_ID, "x" * 1000, "x" * 200),
        (STRANGER_ID, "\u200b\u2060", "Somebody"),
    ],
    ids=["the owner", "the owner unnamed", "a stranger", "a stranger unnamed", "odd", "long", "invisible"],
)
def test_a_message_keeps_what_its_author_is_called(server: Linked, identity: str, given: str, shown: str) -> None:
    said = server.post(platform_user_id=identity, author=given).json()
    assert (said["message"]["author"], Turn.objects.get().author) == (shown, shown)


def test_an_operators_checkers_look_at_names_and_texts(server: Linked, settings: Any) -> None:
    settings.TEXT_CHECKERS = ["tests.bots.test_threads.no_swearing"]
    for bad in ({"text": "swearing"}, {"author": "swearing"}):
        assert refused(server.post(**bad)) == (400, "refused_text")
    assert not Session.objects.exists()


def no_swearing(text: str) -> str | None:
    return "Do not swear." if "swearing" in text else None


# --- bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"kind": "room"}, 400, "invalid"),
        ({"kind": None}, 400, "invalid"),
        ({"kind": ["server"]}, 400, "invalid"),
        ({"platform_id": ""}, 400, "invalid"),
        ({"platform_id": "x" * (PLATFORM_ID_MAX + 1)}, 400, "invalid"),
        ({"platform_id": 17}, 400, "invalid"),
        ({"platform_id": "a\x00"}, 400, "invalid"),
        ({"thread_id": "x" * (PLATFORM_ID_MAX + 1)}, 400, "invalid"),
        ({"thread_id": "a\x00"}, 400, "invalid"),
        ({"thread_id": {}}, 400, "invalid"),
        ({"author": "x" * 1001}, 400, "invalid"),
        ({"author": 1}, 400, "invalid"),
        ({"text": ""}, 400, "invalid"),
        ({"text": None}, 400, "invalid"),
        ({"text": "x" * 64_001}, 413, "text_too_long"),
        ({"client_id": ""}, 400, "invalid"),
        ({"model": "demo/demo"}, 400, "unknown_field"),
        ({"attachments": []}, 400, "unknown_field"),
        ({"standing": "owner"}, 400, "unknown_field"),
        ({"delivery": "interrupt"}, 400, "unknown_field"),
    ],
    ids=lambda value: str(value)[:30] if isinstance(value, dict) else None,
)
def test_what_is_wrong_with_a_message_is_said(
    server: Linked, change: dict[str, Any], status: int, code: str
) -> None:
    assert refused(server.api.post("turns", {**server.body(), **change})) == (status, code)
    assert not Session.objects.exists()


def test_ids_are_kept_as_the_platform_has_them(server: Linked) -> None:
    for thread in ("%24", "..%2F", "a/b", "Ünï", "a", "A", " a"):
        server.say(thread_id=thread)
    assert Thread.objects.count() == 7


# --- costs --------------------------------------------------------------------------------------


@pytest.mark.parametrize("earlier", [0, 60])
def test_a_message_costs_the_same_however_many_threads_and_messages_there_are(
    server: Linked, earlier: int, django_assert_num_queries: Any
) -> None:
    server.say()
    hold(Turn.objects.get()).answer()
    for number in range(earlier):
        server.say(thread_id=f"t{number}")
    key = server.bot.keys.get()
    key.last_used_at = timezone.now()
    key.save()
    # Key and rate of the bot; the link; the thread, its session under the lock, the thread again; what waits or
    # runs; what it is told and what is remembered; turn and messages; session, journal and rate; savepoints.
    with django_assert_num_queries(16):
        server.post("another")


@pytest.mark.parametrize("count", [1, 20])
def test_the_admin_lists_threads(
    server: Linked, admin_client: Client, count: int, django_assert_max_num_queries: Any
) -> None:
    for number in range(count):
        server.say(thread_id=f"t{number}")
    with django_assert_max_num_queries(8):
        page = admin_client.get("/admin/linking/thread/")
    assert page.status_code == 200
    thread = Thread.objects.first()
    assert thread is not None
    shown = admin_client.get(f"/admin/linking/thread/{thread.pk}/change/")
    assert str(thread.session_id) in shown.content.decode()
    assert admin_client.post(f"/admin/linking/thread/{thread.pk}/delete/", {"post": "yes"}).status_code == 403
