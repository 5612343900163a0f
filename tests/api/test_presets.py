"""Named instructions: the operator's for everybody, and people's own."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections

from common.errors import Invalid
from copilot.models import Preset, Session, User
from copilot.presets import PRESETS_MAX, create_preset
from tests.api.conftest import Api

pytestmark = pytest.mark.django_db

WHOLE = {"name": "Reviewer", "prompt": "Look for mistakes.", "tone": "friendly", "style": "short sentences"}


def refuse(text: str) -> str | None:
    return "Not that." if "forbidden" in text else None


@pytest.fixture
def house() -> Preset:
    """A preset of the operator."""
    return Preset.objects.create(name="House", prompt="Be kind.")


@pytest.fixture
def theirs(other_user: User) -> Preset:
    """A preset of somebody else."""
    return Preset.objects.create(user=other_user, name="Theirs", prompt="my secret plan")


def names(api: Api) -> list[str]:
    return [preset["name"] for preset in api.get("presets").json()["results"]]


def test_a_preset_is_created_listed_and_deleted(api: Api) -> None:
    made = api.post("presets", WHOLE)
    assert made.status_code == 201
    shown = made.json()
    assert shown == {**WHOLE, "id": shown["id"], "operator": False, "created_at": shown["created_at"]}
    assert api.get("presets").json() == {"results": [shown], "next": None, "previous": None}
    assert api.delete(f"presets/{shown['id']}").status_code == 204
    assert names(api) == []


def test_tone_and_style_can_be_left_out(api: Api) -> None:
    made = api.post("presets", {"name": " My\n own ", "prompt": "Be brief.\n", "tone": "", "style": None}).json()
    assert set(made) == {"id", "name", "prompt", "operator", "created_at"}
    assert (made["name"], made["prompt"]) == ("My own", "Be brief.")


@pytest.mark.usefixtures("theirs", "house")
def test_people_see_the_operators_and_their_own(api: Api) -> None:
    for name in ("Zebra", "Ant"):
        api.post("presets", {**WHOLE, "name": name})
    assert names(api) == ["House", "Ant", "Zebra"]
    assert [preset["operator"] for preset in api.get("presets").json()["results"]] == [True, False, False]


def test_listing_costs_the_same_however_many_there_are(
    api: Api, user: User, django_assert_num_queries: Any
) -> None:
    for number in range(20):
        Preset.objects.create(user=user, name=str(number), prompt="x")
    with django_assert_num_queries(3):  # login session, user; presets
        assert len(names(api)) == 20


@pytest.mark.parametrize("whose", ["the operator's", "somebody else's", "nobody's", "no id"])
def test_only_ones_own_can_be_deleted(api: Api, house: Preset, theirs: Preset, whose: str) -> None:
    ids = {
        "the operator's": house.pk,
        "somebody else's": theirs.pk,
        "nobody's": "01981f5e-8a40-7c11-9f62-3a8d2f0c1b11",
        "no id": "x",
    }
    response = api.delete(f"presets/{ids[whose]}")
    assert (response.status_code, response.json()["code"]) == (404, "not_found")
    assert Preset.objects.count() == 2


@pytest.mark.parametrize("name", ["Reviewer", "REVIEWER", " reviewer ", "Prüfer", "PRÜFER"])
def test_two_of_a_person_cannot_have_the_same_name(api: Api, other_api: Api, name: str) -> None:
    api.post("presets", WHOLE)
    api.post("presets", {**WHOLE, "name": "prüfer"})
    refused = api.post("presets", {**WHOLE, "name": name})
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid")
    assert "already" in refused.json()["fields"]["name"]
    assert other_api.post("presets", {**WHOLE, "name": name}).status_code == 201


@pytest.mark.usefixtures("house")
def test_ones_own_may_be_named_as_the_operators(api: Api) -> None:
    assert api.post("presets", {**WHOLE, "name": "house"}).status_code == 201


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "invalid"),
        ({"name": "x"}, "invalid"),
        ({"name": "", "prompt": "x"}, "invalid"),
        ({"name": " \n", "prompt": "x"}, "invalid"),
        ({"name": "x", "prompt": " "}, "invalid"),
        ({"name": "x", "prompt": None}, "invalid"),
        ({"name": 1, "prompt": "x"}, "invalid"),
        ({"name": "n" * 81, "prompt": "x"}, "invalid"),
        ({"name": "x", "prompt": "p" * 20_001}, "invalid"),
        ({"name": "x", "prompt": "x", "tone": "t" * 201}, "invalid"),
        ({"name": "x", "prompt": "x", "style": "s" * 201}, "invalid"),
        ({"name": "x", "prompt": "x", "color": "red"}, "unknown_field"),
        ({"name": "x", "prompt": "x", "user": None}, "unknown_field"),
        ({"name": "x", "prompt": "forbidden"}, "refused_text"),
        ({"name": "forbidden", "prompt": "x"}, "refused_text"),
        ([], "invalid"),
    ],
)
def test_a_bad_preset_is_refused(api: Api, settings: Any, body: Any, code: str) -> None:
    settings.TEXT_CHECKERS = ["tests.api.test_presets.refuse"]
    refused = api.post("presets", body)
    assert (refused.status_code, refused.json()["code"]) == (400, code)
    assert not Preset.objects.exists()


def test_the_longest_are_accepted(api: Api) -> None:
    body = {"name": "n" * 80, "prompt": "p" * 20_000, "tone": "t" * 200, "style": "s" * 200}
    assert api.post("presets", body).status_code == 201


def test_a_person_has_so_many_at_most(api: Api, other_api: Api, user: User) -> None:
    Preset.objects.bulk_create(Preset(user=user, name=str(n), prompt="x") for n in range(PRESETS_MAX))
    refused = api.post("presets", WHOLE)
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid")
    assert other_api.post("presets", WHOLE).status_code == 201


@pytest.mark.django_db(transaction=True)
def test_of_two_at_once_with_the_same_name_one_is_made(user: User) -> None:
    barrier = threading.Barrier(4)

    def create() -> bool:
        try:
            barrier.wait()
            create_preset(user=user, name="Same", prompt="x")
        except Invalid:
            return False
        else:
            return True
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as threads:
        made = [call.result() for call in [threads.submit(create) for _ in range(4)]]
    assert (sum(made), Preset.objects.count()) == (1, 1)


# --- of a session ----------------------------------------------------------------------------


def test_a_session_gets_a_preset_and_gives_it_back(api: Api, house: Preset) -> None:
    own = api.post("presets", WHOLE).json()["id"]
    made = api.post("sessions", {"preset": own}).json()
    assert made["preset"] == own
    path = f"sessions/{made['id']}"
    changed = api.patch(path, {"preset": str(house.pk)}).json()
    assert (changed["preset"], changed["revision"]) == (str(house.pk), made["revision"] + 1)
    assert api.patch(path, {"title": "x"}).json()["preset"] == str(house.pk)
    assert "preset" not in api.patch(path, {"preset": None}).json()
    assert "preset" not in api.post("sessions", {"preset": None}).json()


def test_the_preset_of_somebody_else_does_not_exist(api: Api, session: Session, theirs: Preset) -> None:
    for response in (
        api.patch(f"sessions/{session.pk}", {"preset": str(theirs.pk), "title": "x"}),
        api.post("sessions", {"preset": str(theirs.pk)}),
    ):
        assert (response.status_code, response.json()["code"]) == (400, "invalid")
        assert "preset" in response.json()["fields"]
        assert "secret" not in response.content.decode()
    session.refresh_from_db()
    assert (session.preset_id, session.title) == (None, "")


def test_a_deleted_preset_is_taken_from_its_sessions(api: Api, session: Session) -> None:
    own = api.post("presets", WHOLE).json()["id"]
    before = api.patch(f"sessions/{session.pk}", {"preset": own}).json()
    assert api.delete(f"presets/{own}").status_code == 204
    after = api.get(f"sessions/{session.pk}").json()
    assert ("preset" in after, after["revision"]) == (False, before["revision"] + 1)


def test_instructions_of_a_session_are_looked_at_as_all_that_people_write(
    api: Api, session: Session, settings: Any
) -> None:
    settings.TEXT_CHECKERS = ["tests.api.test_presets.refuse"]
    for response in (
        api.patch(f"sessions/{session.pk}", {"instructions": "forbidden"}),
        api.post("sessions", {"instructions": "forbidden"}),
    ):
        assert (response.status_code, response.json()["code"]) == (400, "refused_text")
    session.refresh_from_db()
    assert session.instructions == ""
    assert Session.objects.count() == 1


def test_a_glob_that_matches_no_tool_is_named(api: Api, session: Session) -> None:
    for response in (
        api.patch(f"sessions/{session.pk}", {"tools": ["calc*", "nothing_*"]}),
        api.post("sessions", {"tools": ["nothing_*"]}),
    ):
        assert (response.status_code, response.json()["code"]) == (400, "invalid")
        assert "nothing_*" in response.json()["detail"]
