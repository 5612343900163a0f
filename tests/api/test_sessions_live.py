"""What goes on in a session is told wherever the session is, also while it waits for a person."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from copilot.models import Session
from copilot.models.turn import LIVE, TERMINAL
from tests.api.conftest import Api

Make = Callable[..., Any]


@pytest.mark.parametrize("status", LIVE)
def test_a_live_turn_shows_in_the_list_and_on_the_session(
    api: Api, session: Session, make_turn: Make, status: str
) -> None:
    make_turn(session, "completed")
    make_turn(session, status)
    [listed] = api.get("sessions").json()["results"]
    assert listed["live"] == status
    assert api.get(f"sessions/{session.pk}").json()["live"] == status
    assert api.patch(f"sessions/{session.pk}", {"title": "Renamed"}).json()["live"] == status


@pytest.mark.parametrize("status", TERMINAL)
def test_a_session_whose_turns_have_ended_is_idle(
    api: Api, session: Session, make_turn: Make, status: str
) -> None:
    make_turn(session, status)
    [listed] = api.get("sessions").json()["results"]
    assert "live" not in listed
    assert "live" not in api.get(f"sessions/{session.pk}").json()


def test_each_session_tells_of_its_own_turn(api: Api, make_session: Make, make_turn: Make) -> None:
    waiting, idle, running = make_session(), make_session(), make_session()
    make_turn(waiting, "requires_action")
    make_turn(running, "running")
    told = {row["id"]: row.get("live") for row in api.get("sessions").json()["results"]}
    assert told == {str(waiting.pk): "requires_action", str(idle.pk): None, str(running.pk): "running"}


def test_a_session_that_is_created_again_tells_what_goes_on_in_it(
    api: Api, make_session: Make, make_turn: Make
) -> None:
    session = make_session(client_id="one")
    make_turn(session, "running")
    made = api.post("sessions", {"client_id": "one"})
    assert (made.json()["id"], made.json()["live"]) == (str(session.pk), "running")
