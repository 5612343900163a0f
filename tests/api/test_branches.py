"""Editing a message, asking for another answer, and showing another branch."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from copilot.models import Message, Session, Turn
from copilot.objects import turn_object
from tests.api.conftest import Api
from tests.factories import hold

pytestmark = pytest.mark.django_db


def say(api: Api, session: Session, text: str, answer: str) -> Any:
    """Send a message and have it answered; return what sending was answered with."""
    sent = api.post(f"sessions/{session.id}/messages", {"text": text}).json()
    end(sent, answer)
    return sent


def end(accepted: Any, answer: str) -> None:
    hold(Turn.objects.get(pk=accepted["turn"]["id"])).answer(answer)


def shown(body: Any) -> list[str]:
    return ["".join(part.get("text", "") for part in message["parts"]) for message in body["messages"]]


def test_an_edit_is_answered_like_a_message(api: Api, session: Session) -> None:
    say(api, session, "a", "A")
    sent = say(api, session, "b", "B")
    original = sent["message"]["id"]
    response = api.post(f"messages/{original}/edit", {"text": "b2", "client_id": "e"})
    assert response.status_code == 202
    body = response.json()
    assert set(body) == {"queued", "message", "turn"}
    message, turn = body["message"], body["turn"]
    assert (body["queued"], message["role"], message["state"], message["client_id"]) == (
        False,
        "user",
        "done",
        "e",
    )
    assert message["branch"] == {"index": 1, "count": 2, "siblings": [original, message["id"]]}
    assert (message["turn"], turn["status"], turn["message_ids"]) == (turn["id"], "queued", [message["id"]])
    assert api.get(f"messages/{message['id']}").json() == message
    assert api.get(f"messages/{original}").json()["branch"] == message["branch"] | {"index": 0}
    again = api.post(f"messages/{original}/edit", {"text": "b2", "client_id": "e"})
    assert (again.status_code, again.json()) == (200, body)
    end(body, "B2")
    detail = api.get(f"sessions/{session.id}").json()
    assert (shown(detail), detail["rewrites"]) == (["a", "A", "b2", "B2"], 1)
    assert ["branch" in row for row in detail["messages"]] == [False, False, True, False]
    hidden = turn_object(Turn.objects.get(pk=sent["turn"]["id"]))
    assert (hidden["text"], len(hidden["message_ids"])) == ("B", 2), "what was hidden is still there"


def test_a_page_of_messages_lists_those_that_are_shown(api: Api, session: Session) -> None:
    first = say(api, session, "a", "A")
    say(api, session, "b", "B")
    end(api.post(f"messages/{first['message']['id']}/edit", {"text": "a2"}).json(), "A2")
    page = api.get(f"sessions/{session.id}/messages").json()
    assert [row["seq"] for row in page["results"]] == [5, 6]
    assert page["results"][0]["branch"]["count"] == 2
    assert page["previous"] is page["next"] is None
    assert api.get(f"sessions/{session.id}/messages", after=1, before=6).json()["results"] == page["results"][:1]


def test_another_answer_is_begun_with_the_question_and_a_model(api: Api, session: Session) -> None:
    sent = say(api, session, "a", "A")
    response = api.post(f"sessions/{session.id}/regenerate", {"client_id": "r", "model": "demo/demo"})
    assert response.status_code == 202
    body = response.json()
    assert set(body) == {"queued", "message", "turn"}
    assert body["message"] == api.get(f"messages/{sent['message']['id']}").json()
    assert (body["turn"]["model"], body["turn"]["message_ids"]) == ("demo/demo", [])
    again = api.post(f"sessions/{session.id}/regenerate", {"client_id": "r", "model": "demo/demo"})
    assert (again.status_code, again.json()) == (200, body)
    end(body, "A2")
    detail = api.get(f"sessions/{session.id}").json()
    assert shown(detail) == ["a", "A2"]
    assert (detail["messages"][1]["branch"]["index"], detail["messages"][1]["client_id"]) == (1, "r")
    assert turn_object(Turn.objects.get(pk=body["turn"]["id"]))["text"] == "A2"


def test_a_body_is_not_needed_for_another_answer(api: Api, session: Session) -> None:
    say(api, session, "a", "A")
    assert api.post(f"sessions/{session.id}/regenerate").status_code == 202


def test_a_branch_is_answered_as_the_session_is(api: Api, session: Session) -> None:
    sent = say(api, session, "a", "A")
    end(api.post(f"messages/{sent['message']['id']}/edit", {"text": "b"}).json(), "B")
    before = api.get(f"sessions/{session.id}").json()
    response = api.post(f"sessions/{session.id}/branch", {"message": sent["message"]["id"]})
    assert response.status_code == 200
    body = response.json()
    assert body == api.get(f"sessions/{session.id}").json()
    assert shown(body) == ["a", "A"]
    assert (body["revision"], body["rewrites"]) == (before["revision"] + 1, before["rewrites"] + 1)
    again = api.post(f"sessions/{session.id}/branch", {"message": sent["message"]["id"]})
    assert (again.status_code, again.json()) == (200, body)


def test_while_a_turn_is_live_nothing_is_rewritten(api: Api, session: Session) -> None:
    sent = api.post(f"sessions/{session.id}/messages", {"text": "a"}).json()
    message = sent["message"]["id"]
    for path, body in (
        (f"messages/{message}/edit", {"text": "b"}),
        (f"sessions/{session.id}/regenerate", {}),
        (f"sessions/{session.id}/branch", {"message": message}),
    ):
        response = api.post(path, body)
        assert (response.status_code, response.json()["code"]) == (409, "session_busy")
        assert "stop it first" in response.json()["detail"]
    assert Message.objects.count() == 2


def test_what_is_not_there_is_not_found(api: Api, other_api: Api, session: Session, make_session: Any) -> None:
    sent = say(api, session, "a", "A")
    message, elsewhere = sent["message"]["id"], make_session()
    refused = [
        other_api.post(f"messages/{message}/edit", {"text": "b"}),
        other_api.post(f"sessions/{session.id}/regenerate", {}),
        other_api.post(f"sessions/{session.id}/branch", {"message": message}),
        api.post(f"messages/{uuid.uuid4()}/edit", {"text": "b"}),
        api.post(f"sessions/{uuid.uuid4()}/regenerate", {}),
        api.post(f"sessions/{elsewhere.id}/branch", {"message": message}),
        api.post(f"sessions/{session.id}/branch", {"message": "nothing"}),
        api.post(f"sessions/{session.id}/branch", {"message": str(uuid.uuid4())}),
    ]
    assert {(each.status_code, each.json()["code"]) for each in refused} == {(404, "not_found")}
    assert Turn.objects.count() == 1


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("messages/{message}/edit", {}, 400, "invalid"),
        ("messages/{message}/edit", {"text": " "}, 400, "invalid"),
        ("messages/{message}/edit", {"text": 1}, 400, "invalid"),
        ("messages/{message}/edit", {"text": "b", "client_id": ""}, 400, "invalid"),
        ("messages/{message}/edit", {"text": "b", "model": "demo/demo"}, 400, "unknown_field"),
        ("messages/{message}/edit", {"text": "x" * 64_001}, 413, "text_too_long"),
        ("messages/{answer}/edit", {"text": "b"}, 400, "invalid"),
        ("sessions/{session}/regenerate", {"model": "nobody/knows"}, 400, "unknown_model"),
        ("sessions/{session}/regenerate", {"text": "b"}, 400, "unknown_field"),
        ("sessions/{session}/regenerate", {"client_id": "x" * 129}, 400, "invalid"),
        ("sessions/{session}/branch", {}, 400, "invalid"),
        ("sessions/{session}/branch", {"message": None}, 400, "invalid"),
        ("sessions/{empty}/regenerate", {}, 409, "stale"),
    ],
)
def test_bad_input_is_refused_and_changes_nothing(
    api: Api, session: Session, make_session: Any, path: str, body: Any, status: int, code: str
) -> None:
    sent = say(api, session, "a", "A")
    answer = session.messages.get(role="assistant")
    ids = {
        "message": sent["message"]["id"],
        "answer": answer.id,
        "session": session.id,
        "empty": make_session().id,
    }
    before = list(Message.objects.order_by("pk").values())
    response = api.post(path.format(**ids), body)
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert response.json()["detail"]
    assert list(Message.objects.order_by("pk").values()) == before


def test_branches_cost_one_query_however_many(api: Api, session: Session, django_assert_num_queries: Any) -> None:
    sent = say(api, session, "a", "A")
    for text in ("b", "c", "d"):
        message = api.get(f"sessions/{session.id}").json()["messages"][0]["id"]
        end(api.post(f"messages/{message}/edit", {"text": text}).json(), text.upper())
        end(api.post(f"sessions/{session.id}/regenerate", {}).json(), f"{text.upper()}2")
    # Login session, user; session, messages, branches.
    with django_assert_num_queries(5):
        page = api.get(f"sessions/{session.id}/messages").json()
    assert page["results"][0]["branch"]["count"] == 4
    # Login session, user; message, what is hidden in its place, what is shown there.
    with django_assert_num_queries(5):
        assert api.get(f"messages/{sent['message']['id']}").json()["branch"]["index"] == 0
