"""Creating, listing, changing and deleting sessions."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone

from copilot.models import Message, Session, Turn, TurnEvent, User
from copilot.providers.base import Usage
from copilot.providers.pricing import Cost
from copilot.turns.claim import Claim
from copilot.turns.progress import record_usage
from copilot.turns.sessions import create_session
from tests.api.conftest import Api, append_events
from tests.factories import expire_lease, make_running

Make = Callable[..., Any]
KEYS = {
    "id",
    "title",
    "title_source",
    "model",
    "instructions",
    "temporary",
    "approval_mode",
    "archived",
    "revision",
    "rewrites",
    "created_at",
    "updated_at",
    "usage",
}


def test_a_new_session_is_answered_with_its_object(api: Api) -> None:
    response = api.post("sessions", {})
    assert response.status_code == 201
    made = response.json()
    assert set(made) == KEYS
    assert (made["title"], made["title_source"], made["model"]) == ("", "auto", "demo/demo")
    assert made["usage"] == {"input_tokens": 0, "output_tokens": 0, "cost_microdollars": 0}
    assert made["created_at"].endswith("Z")
    assert made["temporary"] is made["archived"] is False


def test_a_session_keeps_what_it_was_created_with(api: Api) -> None:
    body = {
        "title": "  My\nplan ",
        "model": "demo/demo",
        "instructions": "Be short.",
        "tools": ["calc*"],
        "temporary": False,
        "client_id": None,
    }
    made = api.post("sessions", body).json()
    assert (made["title"], made["title_source"]) == ("My plan", "person")
    assert (made["model"], made["instructions"], made["tools"]) == ("demo/demo", "Be short.", ["calc*"])
    assert api.get(f"sessions/{made['id']}").json()["tools"] == ["calc*"]


def test_the_same_client_id_returns_the_same_session(api: Api, other_api: Api) -> None:
    first = api.post("sessions", {"client_id": "c1", "title": "One"})
    again = api.post("sessions", {"client_id": "c1", "title": "One"})
    assert again.json()["id"] == first.json()["id"]
    assert again.status_code == 201
    assert other_api.post("sessions", {"client_id": "c1"}).json()["id"] != first.json()["id"]
    assert Session.objects.count() == 2


def test_another_client_id_returns_another_session(api: Api) -> None:
    assert len({api.post("sessions", {"client_id": each}).json()["id"] for each in ("c1", "c2")}) == 2


@pytest.mark.django_db(transaction=True)
def test_two_at_once_with_the_same_client_id_get_the_same_session(user: User) -> None:
    barrier = threading.Barrier(4)

    def create() -> object:
        try:
            barrier.wait()
            return create_session(user=user, client_id="c1").id
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as threads:
        made = {call.result() for call in [threads.submit(create) for _ in range(4)]}
    assert made == {Session.objects.get().id}


def test_the_list_has_newest_activity_first_and_only_ones_own(
    api: Api, make_session: Make, other_user: User
) -> None:
    now = timezone.now()
    old = make_session(title="old", updated_at=now - timedelta(hours=1))
    new = make_session(title="new", updated_at=now)
    make_session(user=other_user)
    make_session(temporary=True)
    make_session(archived=True, title="put away")
    listed = api.get("sessions").json()
    assert [row["id"] for row in listed["results"]] == [str(new.id), str(old.id)]
    assert listed["next"] is listed["previous"] is None
    assert [row["title"] for row in api.get("sessions", archived="true").json()["results"]] == ["put away"]


def test_a_temporary_session_is_reached_by_its_id_only(api: Api, user: User) -> None:
    made = api.post("sessions", {"temporary": True})
    assert (made.status_code, made.json()["temporary"]) == (201, True)
    session_id = made.json()["id"]
    sent = api.post(f"sessions/{session_id}/messages", {"text": "hello"}).json()
    assert sent["queued"] is False
    for query in ({}, {"archived": "true"}, {"search": "hello"}):
        assert api.get("sessions", **query).json()["results"] == []
    read = api.get(f"sessions/{session_id}").json()
    assert (read["temporary"], read["title"], read["active_turn"]["id"]) == (True, "", sent["turn"]["id"])
    assert session_id not in api._client.get("/").content.decode()


@pytest.mark.parametrize("temporary", [True, False])
def test_whether_a_session_is_temporary_cannot_be_changed(api: Api, temporary: bool) -> None:
    session = api.post("sessions", {"temporary": temporary}).json()
    for value in (True, False, None):
        response = api.patch(f"sessions/{session['id']}", {"temporary": value, "title": "x"})
        assert (response.status_code, response.json()["code"]) == (400, "unknown_field")
        assert "when a session is created" in response.json()["detail"]
    again = api.get(f"sessions/{session['id']}").json()
    assert (again["temporary"], again["title"], again["revision"]) == (temporary, "", session["revision"])


def test_a_session_asks_about_everything_if_its_owner_likes(api: Api) -> None:
    made = api.post("sessions", {"approval_mode": "ask_all"}).json()
    assert made["approval_mode"] == "ask_all"
    changed = api.patch(f"sessions/{made['id']}", {"approval_mode": "default"}).json()
    assert (changed["approval_mode"], changed["revision"]) == ("default", made["revision"] + 1)
    api.patch(f"sessions/{made['id']}", {"approval_mode": "ask_all"})
    assert api.patch(f"sessions/{made['id']}", {"title": "x"}).json()["approval_mode"] == "ask_all"
    assert api.post("sessions", {"approval_mode": None}).json()["approval_mode"] == "default"


@pytest.mark.parametrize("mode", ["bypass", "dont_ask", "ASK_ALL", "", 1, ["ask_all"]])
def test_a_session_cannot_be_looser_than_the_operator(api: Api, mode: object) -> None:
    for response in (
        api.post("sessions", {"approval_mode": mode}),
        api.patch(f"sessions/{api.post('sessions', {}).json()['id']}", {"approval_mode": mode}),
    ):
        assert (response.status_code, response.json()["code"]) == (400, "invalid")
        assert "approval_mode" in response.json()["fields"]
    assert set(Session.objects.values_list("approval_mode", flat=True)) == {"default"}


def test_temporary_is_yes_or_no(api: Api) -> None:
    assert api.post("sessions", {"temporary": "yes"}).json()["code"] == "invalid"
    assert not Session.objects.exists()


def test_search_looks_into_titles_whatever_the_case(api: Api, make_session: Make) -> None:
    make_session(title="Dinner in Rome")
    make_session(title="100% wool")
    assert [row["title"] for row in api.get("sessions", search=" rome ").json()["results"]] == ["Dinner in Rome"]
    assert [row["title"] for row in api.get("sessions", search="0%").json()["results"]] == ["100% wool"]
    assert api.get("sessions", search="%").json()["results"][0]["title"] == "100% wool"


def test_pages_of_sessions_lead_through_the_whole_list_and_back(api: Api, make_session: Make) -> None:
    now = timezone.now()
    # Several share a moment: the id decides, nothing is skipped or repeated.
    for number in range(7):
        make_session(title=str(number), updated_at=now - timedelta(seconds=number // 3))
    everything = [row["id"] for row in api.get("sessions").json()["results"]]
    seen, page = [], api.get("sessions", limit=3).json()
    while True:
        seen += [row["id"] for row in page["results"]]
        if page["next"] is None:
            break
        assert page["next"].startswith("http://testserver/api/v1/sessions?")
        page = _follow(api, page["next"])
    assert seen == everything
    back = _follow(api, page["previous"])
    assert [row["id"] for row in back["results"]] == everything[3:6]
    first = _follow(api, back["previous"])
    assert [row["id"] for row in first["results"]] == everything[:3]
    assert first["previous"] is None


def test_a_cursor_may_be_the_whole_link(api: Api, make_session: Make) -> None:
    for _ in range(3):
        make_session()
    link = api.get("sessions", limit=2).json()["next"]
    assert len(api.get("sessions", limit=2, cursor=link).json()["results"]) == 1


def _follow(api: Api, link: str) -> Any:
    return api.get(link.removeprefix("http://testserver/api/v1/")).json()


def test_a_session_is_read_with_messages_live_turn_and_what_waits(
    api: Api, session: Session, make_turn: Make, make_message: Make
) -> None:
    turn = make_turn(session, "running")
    said = make_message(session, turn=turn)
    make_message(session, "", role="assistant", state="open", turn=turn)
    waits = make_message(session, "and then?", state="queued", held=True)
    shown = api.get(f"sessions/{session.id}").json()
    assert set(shown) == KEYS | {"messages", "active_turn", "live", "queued"}
    assert [message["id"] for message in shown["messages"]] == [str(said.id)]
    assert shown["active_turn"]["id"] == str(turn.id)
    assert shown["queued"][0] | {"created_at": ""} == {
        "id": str(waits.id),
        "seq": None,
        "role": "user",
        "state": "queued",
        "turn": None,
        "parts": [{"type": "text", "text": "and then?"}],
        "created_at": "",
        "position": 1,
        "held": True,
    }


def test_usage_of_a_session_adds_up(api: Api, session: Session, make_turn: Make) -> None:
    for number, cost in enumerate((Cost(5, "provider"), Cost(None, "unknown"))):
        turn = make_turn(session, "completed")
        record_usage(
            claim=Claim(turn.id, session.id, session.user_id, fence=1, seq=0),
            step=1,
            call=1,
            model="demo/demo",
            usage=Usage(input_tokens=10 + number, output_tokens=1),
            cost=cost,
        )
    usage = {"input_tokens": 21, "output_tokens": 2, "cost_microdollars": 5}
    assert api.get(f"sessions/{session.id}").json()["usage"] == usage
    assert api.get("sessions").json()["results"][0]["usage"] == usage


def test_a_person_renames_and_archives_without_counting_as_activity(api: Api, session: Session) -> None:
    shown = api.patch(f"sessions/{session.id}", {"title": "Mine", "archived": True})
    assert shown.status_code == 200
    body = shown.json()
    assert (body["title"], body["title_source"], body["archived"]) == ("Mine", "person", True)
    assert body["revision"] == session.revision + 1
    assert Session.objects.get().updated_at == session.updated_at


def test_an_emptied_title_may_be_made_again(api: Api, make_session: Make) -> None:
    session = make_session(title="Mine", title_source="person")
    assert api.patch(f"sessions/{session.id}", {"title": " "}).json()["title_source"] == "auto"


def test_tools_can_be_narrowed_and_offered_again(api: Api, session: Session) -> None:
    assert api.patch(f"sessions/{session.id}", {"tools": []}).json()["tools"] == []
    assert "tools" not in api.patch(f"sessions/{session.id}", {"tools": None}).json()


def test_changing_nothing_changes_nothing(api: Api, session: Session) -> None:
    assert api.patch(f"sessions/{session.id}", {}).json()["revision"] == session.revision


@pytest.mark.parametrize("worker", ["dead", "living"])
def test_reading_a_session_takes_its_turn_from_a_dead_worker(api: Api, session: Session, worker: str) -> None:
    """Nobody who looks has to wait for the sweep."""
    holder = make_running(session)
    if worker == "dead":
        expire_lease(holder.claim.turn_id)
    shown = api.get(f"sessions/{session.id}").json()["active_turn"]
    status, attempt = ("queued", 2) if worker == "dead" else ("running", 1)
    assert (shown["id"], shown["status"], shown["attempt"]) == (str(holder.claim.turn_id), status, attempt)
    assert (holder.turn.status, holder.turn.fence > holder.claim.fence) == (status, worker == "dead")


def test_changes_are_announced_after_the_commit(
    api: Api, session: Session, monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
) -> None:
    told: list[tuple[object, object]] = []
    monkeypatch.setattr("copilot.events.publish.session_changed", lambda *ids: told.append(ids))
    with django_capture_on_commit_callbacks(execute=True):
        api.patch(f"sessions/{session.id}", {"title": "New"})
        api.delete(f"sessions/{session.id}")
        assert told == []
    assert told == [(session.id, session.user_id)] * 2


def test_deleting_takes_everything_with_it(
    api: Api, session: Session, make_turn: Make, make_message: Make
) -> None:
    done = make_turn(session, "completed")
    running = make_turn(session, "running")
    Turn.objects.filter(pk=done.pk).update(next_turn=running)
    make_message(session, turn=running)
    append_events(running, {"type": "start-step"})
    response = api.delete(f"sessions/{session.id}")
    assert (response.status_code, response.content) == (204, b"")
    for model in (Session, Turn, Message):
        assert not model._default_manager.exists()
    # The seq after the running turn's newest stays taken until its worker has stopped: it can write nothing more.
    assert list(TurnEvent.objects.values_list("seq", "chunk")) == [(2, {"type": "abort", "reason": "stopped"})]
    assert api.get(f"sessions/{session.id}").status_code == 404
