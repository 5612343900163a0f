"""What operators do over REST: who may, to what, and what is answered."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from common.errors import Busy
from copilot.models import OperatorEntry, Turn, User
from copilot.operators import actions
from copilot.operators.api.actions import IDS_MAX
from copilot.turns import stops
from linking.keys import issue_key
from tests.api.conftest import Api
from tests.factories import fresh, make_running, make_turn, make_user
from tests.operators.acting import (
    acts,
    ids,
    logged_in,
    make_onlooker,
    make_operator,
    make_orphan,
    make_stuck,
)

pytestmark = pytest.mark.django_db

ACTIONS = ("stop", "requeue", "cleanup")


@pytest.fixture
def operator() -> User:
    return make_operator("olga")


@pytest.fixture
def api(operator: User) -> Api:
    return Api(logged_in(operator))


def post(api: Api, action: str, body: Any, **extra: Any) -> tuple[int, Any]:
    answer = api.post(f"operator/turns/{action}", body, **extra)
    return answer.status_code, answer.json()


def names(*turns: Any) -> list[str]:
    return [str(turn_id) for turn_id in ids(*turns)]


def bearer(user: User, *scopes: str) -> dict[str, str]:
    return {"HTTP_AUTHORIZATION": f"Bearer {issue_key(user=user, scopes=list(scopes))[1]}"}


# --- who may ------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize(
    ("who", "status", "code"),
    [
        (lambda: Client(), 401, "not_authenticated"),
        (lambda: logged_in(make_user()), 403, "scope"),
        (lambda: logged_in(make_onlooker()), 403, "scope"),
    ],
    ids=["anonymous", "a person", "staff without the permission"],
)
def test_others_are_refused_and_nothing_happens(
    action: str, who: Callable[[], Client], status: int, code: str
) -> None:
    turn = make_stuck()
    answered, body = post(Api(who()), action, {"ids": names(turn)})
    assert (answered, body["code"]) == (status, code)
    assert (fresh(turn).status, OperatorEntry.objects.exists()) == ("queued", False)


@pytest.mark.parametrize("action", ACTIONS)
def test_a_key_needs_the_scope(action: str, operator: User) -> None:
    turn = make_stuck()
    body = {"ids": names(turn)}
    status, answer = post(Api(Client()), action, body, **bearer(operator, "chat", "approve"))
    assert (status, answer["code"], fresh(turn).status) == (403, "scope", "queued")
    status, answer = post(Api(Client()), action, body, **bearer(operator, "operator"))
    assert (status, answer) == (200, {"affected": 1, "requested": 1})
    assert acts() == [("olga", action, "", 1, 1)]


def test_whoever_lacks_the_permission_is_told_which(operator: User) -> None:
    _, body = post(Api(logged_in(make_onlooker())), "stop", {"ids": [str(uuid.uuid4())]})
    assert "copilot.operate_turns" in body["detail"]


def test_a_page_of_somebody_else_cannot_act_in_an_operators_name(operator: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(operator)
    assert post(Api(client), "stop", {"all": "queued"})[1]["code"] == "csrf"


@pytest.mark.parametrize("action", ACTIONS)
def test_looking_is_not_acting(action: str, api: Api) -> None:
    turn = make_stuck()
    assert api.get(f"operator/turns/{action}").status_code in (404, 405)
    assert fresh(turn).status == "queued"


# --- to what ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "status"), [("stop", "cancelled"), ("requeue", "queued"), ("cleanup", "failed")]
)
def test_some_turns_by_their_ids(api: Api, action: str, status: str) -> None:
    one, other, left = make_stuck(), make_stuck(), make_stuck()
    gone = str(uuid.uuid4())
    assert post(api, action, {"ids": [*names(one, other), gone]}) == (200, {"affected": 2, "requested": 3})
    assert [fresh(turn).status for turn in (one, other, left)] == [status, status, "queued"]


def test_categories_as_a_whole(api: Api) -> None:
    running, orphan, stuck, queued = make_running(), make_orphan(), make_stuck(), make_turn()
    assert post(api, "requeue", {"all": "stuck_queued"}) == (200, {"affected": 1, "requested": 1})
    assert post(api, "cleanup", {"all": "orphaned"}) == (200, {"affected": 1, "requested": 1})
    assert post(api, "cleanup", {"all": "stuck_queued"}) == (200, {"affected": 1, "requested": 1})
    assert (orphan.turn.outcome, fresh(stuck).outcome) == ("worker_lost", "stalled")
    assert post(api, "stop", {"all": "queued"}) == (200, {"affected": 1, "requested": 1})
    assert (fresh(queued).status, running.turn.stop_requested_at) == ("cancelled", None)
    assert post(api, "stop", {"all": "running"}) == (200, {"affected": 1, "requested": 1})
    assert running.turn.stop_reason == "operator"


def test_a_category_is_more_than_one_request_may_name(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of a hundred shows not all of what is there; the act means all."""
    turns = [make_stuck() for _ in range(3)]
    monkeypatch.setattr("copilot.operators.api.actions.IDS_MAX", 1)
    assert post(api, "cleanup", {"all": "stuck_queued"}) == (200, {"affected": 3, "requested": 3})
    assert {fresh(turn).status for turn in turns} == {"failed"}


@pytest.mark.parametrize("action", ACTIONS)
def test_nothing_to_do_is_no_error_and_is_recorded(api: Api, action: str) -> None:
    assert post(api, action, {"all": "stuck_queued"}) == (200, {"affected": 0, "requested": 0})
    two = [str(uuid.uuid4()), str(uuid.uuid4())]
    assert post(api, action, {"ids": two}) == (200, {"affected": 0, "requested": 2})
    assert acts() == [("olga", action, "stuck_queued", 0, 0), ("olga", action, "", 2, 0)]


def test_a_single_turn_that_is_not_there_cannot_be_stopped(api: Api) -> None:
    status, body = post(api, "stop", {"ids": [str(uuid.uuid4())]})
    assert (status, body["code"]) == (404, "not_found")
    ended = make_running()
    ended.answer()
    assert post(api, "stop", {"ids": names(ended)}) == (200, {"affected": 0, "requested": 1})


@pytest.mark.parametrize("make", [make_running, lambda: None], ids=["running", "not there"])
def test_a_single_turn_that_is_not_queued_cannot_be_requeued(api: Api, make: Callable[[], Any]) -> None:
    made = make()
    before = list(Turn.objects.values())
    status, body = post(api, "requeue", {"ids": names(made) if made else [str(uuid.uuid4())]})
    assert (status, body["code"]) == (404, "not_found")
    assert list(Turn.objects.values()) == before
    assert acts() == [("olga", "requeue", "", 1, 0)], "it was tried"


def test_a_single_turn_that_does_not_fit_is_not_cleaned_up(api: Api) -> None:
    running = make_running()
    assert post(api, "cleanup", {"ids": names(running)}) == (200, {"affected": 0, "requested": 1})


@pytest.mark.parametrize(
    ("action", "module", "step"),
    [("stop", stops, "_request"), ("requeue", actions, "_make_due"), ("cleanup", actions, "_give_up")],
)
def test_a_single_turn_that_somebody_is_at_work_on_is_not_said_to_be_gone(
    api: Api, action: str, module: Any, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn = make_stuck()

    def fail(*args: Any, **kwargs: Any) -> Any:
        raise Busy

    monkeypatch.setattr(module, step, fail)
    status, body = post(api, action, {"ids": names(turn)})
    assert (status, body["code"]) == (503, "busy")
    assert acts() == [("olga", action, "", 1, 0)], "it was tried"


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "category"),
    [
        *((action, category) for action in ACTIONS for category in ("failed", "invalid")),
        *(("requeue", category) for category in ("running", "waiting", "orphaned", "long_running")),
        *(("cleanup", category) for category in ("running", "queued", "waiting", "long_running")),
    ],
)
def test_not_everything_is_done_to_every_category(api: Api, action: str, category: str) -> None:
    turn = make_turn()
    status, body = post(api, action, {"all": category})
    assert (status, body["code"]) == (400, "not_allowed")
    assert "stuck_queued" in body["detail"], "it names those that it is for"
    assert (fresh(turn).status, OperatorEntry.objects.exists()) == ("queued", False)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "invalid"),
        (None, "invalid"),
        ({"ids": None}, "invalid"),
        ({"ids": []}, "invalid"),
        ({"ids": "all"}, "invalid"),
        ({"ids": ["nobody"]}, "invalid"),
        ({"ids": [7]}, "invalid"),
        ({"ids": [None]}, "invalid"),
        ({"ids": [str(uuid.uuid4())] * (IDS_MAX + 1)}, "invalid"),
        ({"ids": [str(uuid.uuid4())], "all": "queued"}, "invalid"),
        ({"all": "everything"}, "invalid"),
        ({"all": ""}, "invalid"),
        ({"all": ["queued"]}, "invalid"),
        ({"all": True}, "invalid"),
        ({"turn_ids": []}, "unknown_field"),
        ({"all": "queued", "force": True}, "unknown_field"),
        ([], "invalid"),
        (b"{", "invalid"),
    ],
)
@pytest.mark.parametrize("action", ACTIONS)
def test_a_body_that_says_it_wrongly_is_refused(api: Api, action: str, body: Any, code: str) -> None:
    turn = make_stuck()
    status, answer = post(api, action, body)
    assert (status, answer["code"]) == (400, code)
    assert (fresh(turn).status, OperatorEntry.objects.exists()) == ("queued", False)


def test_too_many_ids_are_told_what_to_do_instead(api: Api) -> None:
    _, answer = post(api, "stop", {"ids": [str(uuid.uuid4())] * (IDS_MAX + 1)})
    assert "1,000" in answer["detail"]
    assert "all" in answer["detail"]


def test_as_many_as_one_request_may_name(api: Api) -> None:
    turn = make_turn()
    chosen = [str(uuid.uuid4()) for _ in range(IDS_MAX - 1)] + names(turn)
    assert post(api, "requeue", {"ids": chosen}) == (200, {"affected": 1, "requested": IDS_MAX})
    entry = OperatorEntry.objects.get()
    assert (entry.requested, entry.data) == (IDS_MAX, {}), "so many ids are not kept"
