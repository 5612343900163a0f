"""The transcript, sending, and messages that wait."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings
from django.test import Client

from copilot.models import Message, Session, Turn, User
from linking.keys import issue_key
from tests.api.conftest import Api

Make = Callable[..., Any]


def test_a_message_to_an_idle_session_begins_a_turn(api: Api, session: Session) -> None:
    response = api.post(f"sessions/{session.id}/messages", {"text": "Hello", "client_id": "c1", "effort": "low"})
    assert response.status_code == 202
    body = response.json()
    assert set(body) == {"queued", "message", "turn"}
    message, turn = body["message"], body["turn"]
    assert body["queued"] is False
    assert message == {
        "id": message["id"],
        "seq": 1,
        "role": "user",
        "state": "done",
        "turn": turn["id"],
        "parts": [{"type": "text", "text": "Hello"}],
        "created_at": message["created_at"],
        "client_id": "c1",
    }
    assert (turn["status"], turn["session"], turn["origin"]) == ("queued", str(session.id), "web")
    assert (turn["model"], turn["effort"], turn["text"]) == ("demo/demo", "low", "")
    assert turn["message_ids"] == [body["message"]["id"]]
    assert turn["created_at"].endswith("Z")
    assert turn["started_at"] is turn["finished_at"] is None
    assert api.get(f"messages/{message['id']}").json() == message


def test_a_message_to_a_busy_session_waits_in_line(api: Api, session: Session, make_turn: Make) -> None:
    make_turn(session, "running")
    for position in (1, 2):
        response = api.post(f"sessions/{session.id}/messages", {"text": f"more {position}"})
        body = response.json()
        assert response.status_code == 202
        assert set(body) == {"queued", "message", "position", "delivery", "waiting_for"}
        assert (body["queued"], body["position"], body["waiting_for"]) == (True, position, "turn")
        assert (body["message"]["state"], body["message"]["seq"]) == ("queued", None)
        assert body["message"]["position"] == position
    listed = api.get(f"sessions/{session.id}/queued").json()
    assert [row["parts"][0]["text"] for row in listed] == ["more 1", "more 2"]
    assert [row["position"] for row in listed] == [1, 2]
    assert api.get(f"messages/{listed[1]['id']}").json() == listed[1]


def test_a_message_behind_a_question_waits_for_the_answer(api: Api, session: Session, make_turn: Make) -> None:
    make_turn(session, "requires_action")
    body = api.post(f"sessions/{session.id}/messages", {"text": "x"}).json()
    assert body["waiting_for"] == "approval"


def test_the_same_client_id_is_answered_with_the_present_state(
    api: Api, session: Session, make_turn: Make
) -> None:
    busy = make_turn(session, "running")
    body = {"text": "x", "client_id": "c1"}
    first = api.post(f"sessions/{session.id}/messages", body)
    again = api.post(f"sessions/{session.id}/messages", body)
    assert (first.status_code, again.status_code) == (202, 200)
    assert again.json() == first.json()
    Turn.objects.filter(pk=busy.pk).delete()
    delivered = api.post(f"sessions/{session.id}/queued/deliver").json()
    after = api.post(f"sessions/{session.id}/messages", body)
    assert after.status_code == 200
    assert after.json()["message"]["id"] == first.json()["message"]["id"]
    assert after.json()["message"]["state"] == "done"
    assert after.json()["turn"]["id"] == delivered["turn"]["id"]
    assert Message.objects.filter(role="user").count() == 1


def test_the_same_client_id_for_something_else_is_refused(api: Api, session: Session) -> None:
    api.post(f"sessions/{session.id}/messages", {"text": "x", "client_id": "c1"})
    for other in ({"text": "y"}, {"text": "x", "effort": "low"}, {"text": "x", "model": "demo/demo"}):
        response = api.post(f"sessions/{session.id}/messages", {**other, "client_id": "c1"})
        assert (response.status_code, response.json()["code"]) == (409, "client_id_reused")
    assert Message.objects.filter(role="user").count() == 1


def test_null_counts_as_left_out(api: Api, session: Session) -> None:
    names = ("client_id", "model", "effort", "attachments", "context", "timezone", "delivery")
    assert api.post(f"sessions/{session.id}/messages", {"text": "x", **dict.fromkeys(names)}).status_code == 202


def test_everything_that_can_be_asked_for_is_accepted(api: Api, session: Session) -> None:
    body = {
        "text": "x",
        "client_id": "c" * 128,
        "model": "demo/demo",
        "effort": "none",
        "attachments": [],
        "context": {"url": "https://example.com/a", "content": "page"},
        "timezone": "Europe/Berlin",
        "delivery": "interrupt",
    }
    assert api.post(f"sessions/{session.id}/messages", body).status_code == 202
    options = Message.objects.get(role="user").options
    assert (options["timezone"], options["context"]["url"]) == ("Europe/Berlin", "https://example.com/a")


def test_a_full_queue_refuses_and_stores_nothing(
    api: Api, session: Session, make_turn: Make, make_message: Make
) -> None:
    make_turn(session, "running")
    for _ in range(settings.PENDING_MAX):
        make_message(session, state="queued")
    response = api.post(f"sessions/{session.id}/messages", {"text": "one more"})
    assert (response.status_code, response.json()["code"]) == (409, "queue_full")
    assert Message.objects.count() == settings.PENDING_MAX


def test_a_key_leaves_its_mark_on_the_turn(user: User, session: Session) -> None:
    _, secret = issue_key(user=user)
    response = Client().post(
        f"/api/v1/sessions/{session.id}/messages",
        {"text": "x"},
        content_type="application/json",
        headers={"Authorization": f"Bearer {secret}"},
    )
    assert (response.status_code, response.json()["turn"]["origin"]) == (202, "key")


def test_a_waiting_message_can_be_withdrawn_until_it_is_delivered(
    api: Api, session: Session, make_turn: Make, make_message: Make
) -> None:
    turn = make_turn(session, "running")
    said = make_message(session, turn=turn)
    waits = make_message(session, state="queued")
    assert api.delete(f"sessions/{session.id}/queued/{waits.id}").status_code == 204
    assert api.delete(f"sessions/{session.id}/queued/{waits.id}").status_code == 404
    response = api.delete(f"sessions/{session.id}/queued/{said.id}")
    assert (response.status_code, response.json()["code"]) == (409, "already_delivered")


def test_what_was_held_is_sent_on_demand(api: Api, session: Session, make_message: Make) -> None:
    held = [make_message(session, str(number), state="queued", held=True) for number in range(2)]
    response = api.post(f"sessions/{session.id}/queued/deliver")
    assert response.status_code == 202
    turn = response.json()["turn"]["id"]
    shown = api.get(f"sessions/{session.id}/messages").json()["results"]
    assert [(row["id"], row["turn"], row["seq"]) for row in shown] == [
        (str(held[0].id), turn, 1),
        (str(held[1].id), turn, 2),
    ]
    assert api.get(f"sessions/{session.id}/queued").json() == []
    again = api.post(f"sessions/{session.id}/queued/deliver")
    assert (again.status_code, again.json()["code"]) == (409, "session_busy")


def test_nothing_held_is_nothing_to_deliver(api: Api, session: Session) -> None:
    response = api.post(f"sessions/{session.id}/queued/deliver")
    assert (response.status_code, response.json()["code"]) == (409, "stale")


# --- reading -------------------------------------------------------------------------------------


@pytest.fixture
def transcript(session: Session, make_message: Make) -> list[Message]:
    return [make_message(session, str(number)) for number in range(1, 8)]


def seqs(page: Any) -> list[int]:
    return [row["seq"] for row in page["results"]]


def test_without_bounds_the_newest_page_is_shown_oldest_first(
    api: Api, session: Session, transcript: list[Message]
) -> None:
    page = api.get(f"sessions/{session.id}/messages", limit=3).json()
    assert seqs(page) == [5, 6, 7]
    assert page["next"] is None
    assert page["previous"].endswith(f"/api/v1/sessions/{session.id}/messages?limit=3&before=5")


def test_pages_lead_to_the_oldest_message_and_back(api: Api, session: Session, transcript: list[Message]) -> None:
    page = api.get(f"sessions/{session.id}/messages", limit=3).json()
    seen = [seqs(page)]
    while page["previous"]:
        page = _follow(api, page["previous"])
        seen.append(seqs(page))
    assert seen == [[5, 6, 7], [2, 3, 4], [1]]
    seen = [seqs(page)]
    while page["next"]:
        page = _follow(api, page["next"])
        seen.append(seqs(page))
    assert seen == [[1], [2, 3, 4], [5, 6, 7]]


@pytest.mark.parametrize(
    ("query", "expected", "newer", "older"),
    [
        ({"after": 0}, [1, 2, 3], True, False),
        ({"after": 5}, [6, 7], False, True),
        ({"after": 7}, [], False, True),
        ({"before": 1}, [], True, False),
        ({"before": 2}, [1], True, False),
        ({"before": 100}, [5, 6, 7], False, True),
        ({"after": 2, "before": 5}, [3, 4], True, True),
        ({"after": 4, "before": 5}, [], True, True),
    ],
)
def test_bounds_are_exclusive(
    api: Api,
    session: Session,
    transcript: list[Message],
    query: dict[str, int],
    expected: list[int],
    newer: bool,
    older: bool,
) -> None:
    page = api.get(f"sessions/{session.id}/messages", limit=3, **query).json()
    assert (seqs(page), page["next"] is not None, page["previous"] is not None) == (expected, newer, older)


def test_links_of_an_empty_page_lead_out_of_it(api: Api, session: Session, transcript: list[Message]) -> None:
    page = api.get(f"sessions/{session.id}/messages", limit=2, after=7).json()
    assert seqs(_follow(api, page["previous"])) == [6, 7]
    page = api.get(f"sessions/{session.id}/messages", limit=2, before=1).json()
    assert seqs(_follow(api, page["next"])) == [1, 2]


def test_an_answer_that_is_being_written_is_not_shown(
    api: Api, session: Session, make_turn: Make, make_message: Make
) -> None:
    turn = make_turn(session, "running")
    make_message(session, turn=turn)
    written = make_message(session, "", role="assistant", state="open", turn=turn)
    assert seqs(api.get(f"sessions/{session.id}/messages").json()) == [1]
    assert api.get(f"messages/{written.id}").status_code == 404


def _follow(api: Api, link: str) -> Any:
    return api.get(link.removeprefix("http://testserver/api/v1/")).json()


def test_sending_too_often_says_when_to_come_again(
    api: Api, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "SEND_RATE", 1)
    assert api.post(f"sessions/{session.id}/messages", {"text": "one", "client_id": "c1"}).status_code == 202
    response = api.post(f"sessions/{session.id}/messages", {"text": "two"})
    body = response.json()
    assert (response.status_code, body["code"]) == (429, "rate_limited")
    assert 0 < int(response["Retry-After"]) == body["fields"]["retry_after"] <= 60
    assert body["fields"]["window"] == "minute"
    assert body["fields"]["resets_at"].endswith("Z")
    assert response["Retry-After"] in body["detail"]
    assert api.post(f"sessions/{session.id}/messages", {"text": "one", "client_id": "c1"}).status_code == 200
