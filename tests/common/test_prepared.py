"""Prepared queries find, change and insert what the queries they are built from would."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from common.db import db_now, seconds_ago
from common.prepared import Update, insert, prepared, prepared_update
from copilot.models import Message, Session, Turn, UsageRecord
from tests.factories import make_session, make_turn

pytestmark = pytest.mark.django_db


@prepared
def turns_of(session_id: Any) -> QuerySet[Turn]:
    """Return a session's turns."""
    return Turn.objects.filter(session_id=session_id).annotate(time=db_now())


@prepared
def narrow(session_id: Any) -> QuerySet[Turn]:
    return Turn.objects.filter(session_id=session_id).only("status", "settings")


@prepared
def rows_of(session_id: Any, since: Any) -> QuerySet[Turn, Any]:
    turns = Turn.objects.filter(session_id=session_id, created_at__gte=since)
    return turns.values_list("id", "settings", "created_at")


@prepared
def messages_sent_as(client_id: Any) -> QuerySet[Message, Any]:
    return Message.objects.filter(client_id=client_id).values_list("id", flat=True)


def test_it_finds_what_the_query_finds() -> None:
    turn = make_turn()
    [found] = turns_of(turn.session_id)
    stored = Turn.objects.get(pk=turn.pk)
    assert {name: getattr(found, name) for name in fields_of(Turn)} == {
        name: getattr(stored, name) for name in fields_of(Turn)
    }
    assert abs((found.time - timezone.now()).total_seconds()) < 60  # type: ignore[attr-defined] # annotated
    assert turns_of(uuid.uuid4()) == []


def test_fields_that_were_not_read_are_read_when_they_are_used() -> None:
    turn = make_turn()
    [found] = narrow(turn.session_id)
    assert found.get_deferred_fields() >= {"model", "fence"}
    assert (found.status, found.model) == (turn.status, turn.model)


@prepared
def with_session(turn_id: Any) -> QuerySet[Turn]:
    return Turn.objects.select_related("session__user").filter(pk=turn_id)


def test_related_objects_come_along(django_assert_num_queries: Any) -> None:
    turn = make_turn()
    session = Session.objects.get(pk=turn.session_id)
    expected = (session.title, session.user.username)
    with django_assert_num_queries(1):
        [found] = with_session(turn.pk)
        assert (found.session.title, found.session.user.username) == expected


def test_rows_and_single_values_are_converted() -> None:
    turn = Turn.objects.get(pk=make_turn().pk)
    assert rows_of(turn.session_id, turn.created_at - timedelta(seconds=1)) == [
        (turn.pk, turn.settings, turn.created_at)
    ]
    assert rows_of(turn.session_id, since=timezone.now() + timedelta(days=1)) == []
    Message.objects.filter(turn=turn, role="user").update(client_id="mine")
    assert messages_sent_as("mine") == [Message.objects.get(client_id="mine").pk]


def test_null_is_equal_to_nothing() -> None:
    make_turn()
    assert Message.objects.filter(client_id=None).exists()
    assert messages_sent_as(None) == []


def test_it_is_built_once() -> None:
    built = []

    @prepared
    def counted(pk: Any) -> QuerySet[Session]:
        built.append(pk)
        return Session.objects.filter(pk=pk)

    one, two = make_session(), make_session()
    assert [counted(one.pk), counted(two.pk), counted(one.pk)] == [[one], [two], [one]]
    assert len(built) == 1


def test_an_update_changes_its_rows_and_counts_them() -> None:
    @prepared_update
    def change(pk: Any, title: Any, more: Any, tools: Any) -> Update:
        values = {"title": title, "accepted": F("accepted") + more, "tools": tools, "updated_at": db_now()}
        return Session.objects.filter(pk=pk), values

    one, other = make_session(), make_session()
    assert change(one.pk, "A", more=2, tools=["calculator"]) == 1
    assert change(one.pk, "B", more=3, tools=["demo_*"]) == 1
    assert change(uuid.uuid4(), "C", more=1, tools=None) == 0
    changed = Session.objects.get(pk=one.pk)
    assert (changed.title, changed.accepted, changed.tools) == ("B", one.accepted + 5, ["demo_*"])
    assert Session.objects.get(pk=other.pk).title == other.title


def test_what_is_inserted_equals_what_django_would_have_saved() -> None:
    earlier = make_turn()
    Turn.objects.filter(pk=earlier.pk).delete()
    session = Session.objects.get(pk=earlier.session_id)
    new = Turn(session=session, user_id=session.user_id, model="demo/demo", settings={"tools": None, "é": [1]})
    insert(new)
    stored = Turn.objects.get(pk=new.pk)
    assert {name: getattr(new, name) for name in fields_of(Turn)} == {
        name: getattr(stored, name) for name in fields_of(Turn)
    }
    new.effort = "low"
    new.save()  # it is not new any more
    assert Turn.objects.get(pk=new.pk).effort == "low"


def test_several_are_inserted_at_once_and_the_database_gives_the_ids() -> None:
    turn = make_turn()
    records = [
        UsageRecord(turn=turn, user_id=turn.user_id, fence=1, step=step, model="demo/demo") for step in (1, 2)
    ]
    insert(*records)
    assert [record.pk for record in records] == list(
        UsageRecord.objects.filter(turn=turn).order_by("step").values_list("pk", flat=True)
    )


def test_a_value_may_be_an_expression() -> None:
    earlier = make_turn()
    Turn.objects.filter(pk=earlier.pk).delete()
    session = Session.objects.get(pk=earlier.session_id)
    new = Turn(session=session, user_id=session.user_id, model="demo/demo", redispatch_at=seconds_ago(-60))
    insert(new)
    stored = Turn.objects.get(pk=new.pk)
    assert 59 < (stored.redispatch_at - stored.created_at).total_seconds() < 61


def test_constraints_hold() -> None:
    turn = make_turn()
    second = Turn(session_id=turn.session_id, user_id=turn.user_id, model="demo/demo")
    with pytest.raises(IntegrityError), transaction.atomic():
        insert(second)
    assert second._state.adding


def fields_of(model: type[Any]) -> list[str]:
    return [field.attname for field in model._meta.concrete_fields]
