"""The engine's rows in the admin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from copilot.diagnostics.categories import CATEGORIES
from copilot.models import Message, Preset, Session, Step, ToolCall, Turn, TurnLog, UsageRecord, User, Worker
from copilot.turns.submit import submit_message

pytestmark = pytest.mark.django_db

TABLES = ("session", "message", "turn", "usagerecord", "worker")


@pytest.fixture
def admin(make_user: Callable[..., User]) -> Client:
    client = Client()
    client.force_login(make_user(username="root", is_staff=True, is_superuser=True))
    return client


@pytest.fixture
def fill(make_session: Callable[..., Session], make_user: Callable[..., User]) -> Callable[[int], Turn]:
    """Return a function that makes so many rows of everything, each of somebody else."""

    def make(count: int) -> Turn:
        for _ in range(count):
            user = make_user()
            session = make_session(user=user)
            turn = submit_message(user=user, session_id=session.pk, text="my secret plan").turn
            assert turn is not None
            UsageRecord.objects.create(turn=turn, user=user, fence=1, step=1, model="demo/demo")
            Step.objects.create(turn=turn, number=1, finish_reason="stop", content=[{"text": "my secret plan"}])
            ToolCall.objects.create(
                turn=turn,
                step=1,
                position=0,
                provider_id="x",
                name="calculator",
                arguments={"x": "my secret plan"},
            )
            Worker.objects.create(host="here", pid=1, version="0", slots=1)
        return turn

    return make


@pytest.mark.parametrize("table", [*TABLES, "user"])
def test_a_list_costs_the_same_however_long_it_is(
    admin: Client, fill: Callable[[int], Turn], table: str, django_assert_max_num_queries: Any
) -> None:
    fill(20)
    # Login session, user; count, rows with their users; the bounds of a date filter; each category of turns.
    with django_assert_max_num_queries(6 + (len(CATEGORIES) if table == "turn" else 0)):
        page = admin.get(f"/admin/copilot/{table}/")
    assert page.status_code == 200
    assert "my secret plan" not in page.content.decode()


@pytest.mark.parametrize("table", TABLES)
def test_rows_are_neither_added_changed_nor_deleted(
    admin: Client, fill: Callable[[int], Turn], table: str
) -> None:
    fill(1)
    model = {m._meta.model_name: m for m in (Session, Message, Turn, UsageRecord, Worker)}[table]
    row = f"/admin/copilot/{table}/{model._default_manager.first().pk}"
    assert admin.get(f"{row}/change/").status_code == 200
    assert admin.get(f"/admin/copilot/{table}/add/").status_code == 403
    assert admin.post(f"{row}/change/", {"x": "y"}).status_code == 403
    assert admin.post(f"{row}/delete/", {"post": "yes"}).status_code == 403
    assert "delete_selected" not in admin.get(f"/admin/copilot/{table}/").content.decode()


def test_a_turn_shows_its_history_but_not_what_was_said(admin: Client, fill: Callable[[int], Turn]) -> None:
    turn = fill(1)
    TurnLog.objects.create(turn=turn, kind="claimed", data={"attempt": 1})
    page = admin.get(f"/admin/copilot/turn/{turn.pk}/change/").content.decode()
    for shown in ("submitted", "claimed", "calculator", str(turn.session_id)):
        assert shown in page
    assert "my secret plan" not in page


def test_a_message_shows_its_text_escaped(admin: Client, user: User, make_session: Callable[..., Session]) -> None:
    accepted = submit_message(user=user, session_id=make_session().pk, text="<script>alert(1)</script>")
    page = admin.get(f"/admin/copilot/message/{accepted.message.pk}/change/").content.decode()
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert(1)" not in page


@pytest.mark.parametrize("table", TABLES)
def test_rows_are_found_by_id_and_a_search_for_anything_is_answered(
    admin: Client, fill: Callable[[int], Turn], table: str
) -> None:
    turn = fill(3)
    found = admin.get(f"/admin/copilot/{table}/", {"q": str(turn.pk)}).context["cl"].result_list
    if table in ("turn", "usagerecord"):
        assert len(found) == 1
    for anything in ("ada", "x" * 500, "'", "00000000-0000"):
        assert admin.get(f"/admin/copilot/{table}/", {"q": anything}).status_code == 200


def test_the_filters_of_turns_work(admin: Client, fill: Callable[[int], Turn]) -> None:
    fill(2)
    for query, expected in (("status__exact=queued", 2), ("status__exact=failed", 0), ("origin__exact=bot", 0)):
        page = admin.get(f"/admin/copilot/turn/?{query}")
        assert len(page.context["cl"].result_list) == expected


def test_people_have_a_tier(admin: Client, user: User) -> None:
    page = admin.get(f"/admin/copilot/user/{user.pk}/change/").content.decode()
    assert "field-tier" in page
    assert 'name="tier"' not in page  # it is changed where that is recorded
    assert 'name="time_zone"' in page
    assert 'name="instructions"' not in page  # theirs alone


def test_operators_keep_presets_for_everybody_and_see_no_others(admin: Client, session: Session) -> None:
    Preset.objects.create(user=session.user, name="Mine", prompt="my secret plan")
    form = {"name": " House  style ", "prompt": "Be kind.", "tone": "", "style": ""}
    assert admin.post("/admin/copilot/preset/add/", form).status_code == 302
    preset = Preset.objects.get(user=None)
    assert (preset.name, preset.prompt) == ("House style", "Be kind.")
    again = admin.post("/admin/copilot/preset/add/", {**form, "name": "HOUSE style"})
    assert (again.status_code, "already" in again.content.decode()) == (200, True)
    page = admin.get("/admin/copilot/preset/").content.decode()
    assert ("House style" in page, "Mine" in page) == (True, False)
    Session.objects.filter(pk=session.pk).update(preset=preset)
    assert admin.post(f"/admin/copilot/preset/{preset.pk}/delete/", {"post": "yes"}).status_code == 302
    before = session.revision
    session.refresh_from_db()
    assert (session.preset_id, session.revision) == (None, before + 1)


def test_strangers_see_nothing(client: Client, user: User) -> None:
    client.force_login(user)
    for table in (*TABLES, "user"):
        assert client.get(f"/admin/copilot/{table}/").status_code == 302
