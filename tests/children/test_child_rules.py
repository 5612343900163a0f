"""The checker knows families: it finds nothing in what the engine writes, and what is broken by hand."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from copilot.diagnostics.explain import explain
from copilot.diagnostics.invariants import check
from copilot.models import Session, Turn
from copilot.turns import children
from copilot.turns.cancel import finish_unconfirmed, request_stop
from tests.factories import accept, fresh, hold, make_session, make_user

pytestmark = pytest.mark.django_db


def family() -> tuple[Session, Turn, Turn]:
    """Return a session, its turn, and the turn of its child, both live."""
    session = make_session()
    parent = hold(accept(session).turn)  # type: ignore[arg-type]
    sent = children.send_prompt(parent.claim, uuid.uuid4(), prompt="hello")
    assert sent is not None
    return session, parent.turn, Turn.objects.get(session=sent.session)


def _stop_long_ago(parent: Turn) -> None:
    request_stop(user=parent.user, session_id=parent.session_id, turn_id=None, reason="stopped")
    Turn.objects.filter(pk=parent.pk).update(stop_requested_at=parent.created_at)
    finish_unconfirmed(parent.pk, 0.0)
    Turn.objects.filter(pk=parent.pk).update(finished_at=timezone.now() - timedelta(minutes=5))


def _other_parent(parent: Turn, child: Turn) -> None:
    Turn.objects.filter(pk=child.pk).update(parent=accept(make_session()).turn)


def _owed_to_nobody(parent: Turn, child: Turn) -> None:
    Turn.objects.filter(pk=child.pk).update(parent=None)


def _deeper(parent: Turn, child: Turn) -> None:
    Session.objects.filter(pk=child.session_id).update(depth=2)


def _somebody_elses(parent: Turn, child: Turn) -> None:
    Session.objects.filter(pk=child.session_id).update(user=make_user())


def _temporary(parent: Turn, child: Turn) -> None:
    Session.objects.filter(pk=child.session_id).update(temporary=True)


def _outlives(parent: Turn, child: Turn) -> None:
    _stop_long_ago(parent)


@pytest.mark.parametrize(
    ("rule", "break_it"),
    [
        pytest.param("children_end_with_their_parent", _other_parent, id="of-another-session"),
        pytest.param("children_end_with_their_parent", _owed_to_nobody, id="owed-to-nobody"),
        pytest.param("children_end_with_their_parent", _outlives, id="outlives-its-parent"),
        pytest.param("children_are_bound", _deeper, id="too-deep"),
        pytest.param("children_are_bound", _somebody_elses, id="of-somebody-else"),
        pytest.param("children_are_bound", _temporary, id="temporary-alone"),
    ],
)
def test_what_is_broken_is_found(rule: str, break_it: Callable[[Turn, Turn], None]) -> None:
    _, parent, child = family()
    assert check() == []
    break_it(parent, child)
    assert rule in {violation.rule for violation in check()}


def test_a_child_of_a_turn_that_was_just_stopped_breaks_no_rule() -> None:
    _, parent, _ = family()
    _stop_long_ago(parent)
    Turn.objects.filter(pk=parent.pk).update(finished_at=timezone.now())
    assert check() == []


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({"depth": 4}, id="four-deep"),
        pytest.param({"depth": 0}, id="a-child-at-the-top"),
        pytest.param({"parent": None}, id="a-child-without-a-parent"),
    ],
)
def test_the_database_refuses_families_that_cannot_be(values: dict[str, Any]) -> None:
    _, _, child = family()
    with pytest.raises(IntegrityError), transaction.atomic():
        Session.objects.filter(pk=child.session_id).update(**values)


def test_the_database_refuses_a_second_child_of_one_call() -> None:
    session, _, child = family()
    call = fresh(child.session).parent_call
    with pytest.raises(IntegrityError), transaction.atomic():
        Session.objects.create(
            user=session.user, parent=session, parent_call=call, depth=1, updated_at=timezone.now()
        )


def test_a_timeline_names_the_parent() -> None:
    _, parent, child = family()
    lines = explain(child.pk)
    assert lines is not None
    assert f"  parent    turn {parent.pk}, still to be told of the end" in lines


def test_deleting_a_parent_takes_its_children_and_their_turns() -> None:
    session, _, _ = family()
    session.delete()
    assert not Session.objects.exists()
    assert not Turn.objects.exists()
