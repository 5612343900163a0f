"""Stopping what an agent asked of a child: that prompt and nothing else, and everything below it."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from common.errors import NotFound
from copilot.models import Message, Session, Turn
from copilot.turns import children
from copilot.turns.cancel import request_stop
from copilot.turns.children import (
    ENDED,
    PROGRESS_CHARACTERS,
    Prompt,
    cut,
    last_prompt,
    send_prompt,
    stop_orphan,
    stop_prompt,
)
from copilot.turns.finish import failed
from tests.factories import Holder, fresh, give_up_worker, hold, make_running, make_session

pytestmark = pytest.mark.django_db


def send(parent: Holder, text: str = "work", *, child: object = None) -> Prompt:
    prompt = send_prompt(parent.claim, uuid.uuid4(), prompt=text, child=child)
    assert prompt is not None
    return prompt


def turn_of(prompt: Prompt) -> Turn:
    """Return the turn that answers a prompt."""
    turn = Message.objects.select_related("turn").get(pk=prompt.message).turn
    assert turn is not None
    return turn


def test_a_prompt_that_waits_is_taken_back_and_the_one_before_it_goes_on() -> None:
    parent = make_running()
    first = send(parent)
    second = send(parent, "and this", child=first.session)
    assert stop_prompt(second) is True
    assert not Message.objects.filter(pk=second.message).exists()
    assert turn_of(first).status == "queued"
    assert stop_prompt(second) is False


def test_a_prompt_that_nobody_answers_yet_is_stopped_at_once_and_its_end_is_told_to_nobody() -> None:
    parent = make_running()
    stopped, other = send(parent), send(parent, "other work")
    assert stop_prompt(stopped) is True
    turn = turn_of(stopped)
    assert (turn.status, turn.outcome, turn.owed) == ("cancelled", "stopped", False)
    assert (turn_of(other).status, turn_of(other).owed) == ("queued", True)


def test_a_prompt_that_a_worker_answers_is_told_to_stop() -> None:
    parent = make_running()
    prompt = send(parent)
    hold(turn_of(prompt))
    assert stop_prompt(prompt) is True
    turn = turn_of(prompt)
    assert (turn.status, turn.stop_reason, turn.owed) == ("running", "stopped", False)
    assert turn.stop_requested_at is not None


def test_a_prompt_that_was_answered_stays_so_and_is_still_told_of() -> None:
    parent = make_running()
    prompt = send(parent)
    hold(turn_of(prompt)).answer("Done.")
    assert stop_prompt(prompt) is False
    assert (turn_of(prompt).status, turn_of(prompt).owed) == ("completed", True)


def test_what_ends_before_the_stop_reaches_it_was_not_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    prompt = send(make_running())
    holder = hold(turn_of(prompt))

    def too_late(**about: Any) -> Any:
        holder.answer("Done.")
        return request_stop(**about)

    monkeypatch.setattr(children, "request_stop", too_late)
    assert stop_prompt(prompt) is False
    assert turn_of(prompt).status == "completed"


def test_a_prompt_whose_session_is_gone_needs_no_stop() -> None:
    assert stop_prompt(Prompt(uuid.uuid4(), uuid.uuid4())) is False


def test_a_prompt_that_somebody_else_takes_back_first_was_not_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    parent = make_running()
    second = send(parent, child=send(parent).session)

    def gone(**about: Any) -> None:
        raise NotFound

    monkeypatch.setattr(children, "withdraw_queued", gone)
    assert stop_prompt(second) is False


def test_a_prompt_goes_to_the_child_that_is_named() -> None:
    parent = make_running()
    one, other = send(parent), send(parent)
    for each in (one, other):
        assert send(parent, "more", child=each.session).session == each.session


def test_what_tells_of_a_childs_own_child_is_no_prompt() -> None:
    parent = make_running()
    prompt = send(parent)
    told = Message(session_id=prompt.session, role="user", state="queued", number=99, origin="child")
    told.client_id = f"{ENDED}{uuid.uuid4()}"
    told.save()
    assert last_prompt(parent.session.pk, prompt.session) == prompt


@pytest.mark.parametrize(
    ("length", "kept"), [(PROGRESS_CHARACTERS, PROGRESS_CHARACTERS), (PROGRESS_CHARACTERS + 1, 401)]
)
def test_progress_is_cut_where_it_is_too_long(length: int, kept: int) -> None:
    assert len(cut("x" * length)) == kept
    assert cut("x" * length).endswith("…") is (length > PROGRESS_CHARACTERS)


# --- with its parent -------------------------------------------------------------------------


def orphan_of(parent: Holder) -> Prompt:
    """Return a prompt whose parent has failed; nobody has told its turn yet."""
    prompt = send(parent)
    parent.answer("No.", failed("auth", "No."))
    Turn.objects.filter(pk=turn_of(prompt).pk).update(stop_requested_at=None, stop_reason="")
    return prompt


@pytest.fixture
def _nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "stop_children", lambda turn_id: 0)


@pytest.mark.usefixtures("_nobody_is_told")
def test_one_orphan_is_stopped_at_a_time() -> None:
    parents = [make_running(), make_running()]
    one, other = map(orphan_of, parents)
    assert stop_orphan(turn_of(one).pk) is True
    assert (turn_of(one).status, turn_of(one).outcome) == ("cancelled", "parent_stopped")
    assert turn_of(other).status == "queued"


def test_a_turn_whose_parent_goes_on_is_no_orphan() -> None:
    prompt = send(make_running())
    assert stop_orphan(turn_of(prompt).pk) is False
    assert turn_of(prompt).status == "queued"


@pytest.mark.parametrize("answer", [NotFound(), None])
def test_an_orphan_that_is_deleted_or_ends_meanwhile_is_not_counted(
    monkeypatch: pytest.MonkeyPatch, answer: Exception | None
) -> None:
    prompt = orphan_of(make_running())

    def gone(**about: Any) -> None:
        if answer is not None:
            raise answer

    monkeypatch.setattr(children, "request_stop", gone)
    assert stop_orphan(turn_of(prompt).pk) is False


def test_what_an_orphan_asked_for_ends_with_it() -> None:
    """It waits for a worker again, so that it ends at once, with a child of its own at work."""
    parent = make_running(make_session())
    middle = send(parent)
    holder = hold(turn_of(middle))
    last = send(holder)
    give_up_worker(turn_of(middle).pk)
    parent.answer("No.", failed("auth", "No."))
    assert stop_orphan(turn_of(middle).pk) is True
    assert [turn_of(each).outcome for each in (middle, last)] == ["parent_stopped"] * 2
    assert Session.objects.filter(pk=last.session).exists()


def test_an_orphan_that_a_worker_holds_keeps_its_children_until_it_has_ended() -> None:
    parent = make_running(make_session())
    middle = send(parent)
    holder = hold(turn_of(middle))
    last = send(holder)
    parent.answer("No.", failed("auth", "No."))
    assert stop_orphan(turn_of(middle).pk) is True
    assert (turn_of(middle).status, turn_of(middle).stop_reason) == ("running", "parent_stopped")
    assert fresh(turn_of(last)).status == "queued"
