"""Over a limit nothing begins that costs; what was stored stays as it was."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import Settings

from common.errors import Invalid, NotFound, UsageLimit
from copilot.agent.aside import _prepare
from copilot.models import Message, SendRate, Session, Turn, UsageCounter, User
from copilot.turns.branches import edit_message, regenerate
from copilot.turns.submit import deliver_queued
from copilot.usage.allowance import reset, set_tier
from copilot.usage.limits import check, check_spent, refusal_of, usage_of
from copilot.usage.reservations import do_reserve
from tests.factories import accept, make_running, make_session
from tests.usage.spending import counted, spend, untrue

DAY, WEEK = 1000, 4000
Begin = Callable[[Session], Any]


@pytest.fixture(autouse=True)
def _limits(settings: Settings) -> None:
    settings.USAGE_DAILY_LIMIT_MICRODOLLARS, settings.USAGE_WEEKLY_LIMIT_MICRODOLLARS = DAY, WEEK


@pytest.fixture
def session(user: User) -> Session:
    """A session in which a question was answered."""
    made = make_session(user)
    make_running(made).answer()
    return made


def question_of(session: Session) -> Message:
    return session.messages.get(role="user", state="done")


def deliver(session: Session) -> Any:
    Message.objects.create(session=session, role="user", state="queued", number=100, held=True)
    Session.objects.filter(pk=session.pk).update(accepted=100)
    return deliver_queued(user=session.user, session_id=session.pk)


BEGINNINGS: list[tuple[str, Begin]] = [
    ("message", accept),
    ("edit", lambda session: edit_message(user=session.user, message_id=question_of(session).pk, text="again")),
    ("regenerate", lambda session: regenerate(user=session.user, session_id=session.pk)),
    ("send now", deliver),
    ("side question", lambda session: _prepare(session.user, session.pk, "?")),
]


@pytest.mark.django_db
@pytest.mark.parametrize("begin", [begin for _, begin in BEGINNINGS], ids=[name for name, _ in BEGINNINGS])
@pytest.mark.parametrize("used", [DAY - 1, DAY])
def test_nothing_begins_once_as_much_was_used_as_may_be(
    user: User, session: Session, settings: Settings, begin: Begin, used: int
) -> None:
    settings.SEND_RATE = 10
    spend(user, used)
    before, messages = session.turns.count(), session.messages.count()
    if used < DAY:
        begin(session)
        return
    with pytest.raises(UsageLimit) as refused:
        begin(session)
    assert (refused.value.status, refused.value.error_code) == (429, "usage_limit")
    assert session.turns.count() == before
    assert session.messages.filter(state="done").count() == messages
    assert not SendRate.objects.exists(), "what is refused is not counted as sent"
    assert untrue() == []


@pytest.mark.django_db
def test_a_refusal_says_of_which_window_and_when_another_begins(user: User, session: Session) -> None:
    spend(user, DAY)
    with pytest.raises(UsageLimit, match="usage limit for this day is reached") as refused:
        accept(session)
    fields = refused.value.fields
    resets_at = datetime.fromisoformat(fields["resets_at"])
    assert fields["window"] == "daily"
    assert (resets_at.hour, resets_at.minute, resets_at.second) == (0, 0, 0)
    assert timedelta() < resets_at - timezone.now() <= timedelta(days=1)
    assert abs(fields["retry_after"] - (resets_at - timezone.now()).total_seconds()) < 30
    assert refused.value.response()["Retry-After"] == str(fields["retry_after"])
    reset(user, week=False)
    spend(user, WEEK - DAY)
    reset(user, week=False)
    with pytest.raises(UsageLimit, match="usage limit for this week is reached") as refused:
        accept(session)
    assert refused.value.fields["window"] == "weekly"
    assert datetime.fromisoformat(refused.value.fields["resets_at"]).weekday() == 0


@pytest.mark.django_db
def test_a_message_to_a_busy_session_waits_whatever_was_used(user: User) -> None:
    session = make_session(user)
    make_running(session)
    spend(user, 5 * DAY)
    assert accept(session).queued


@pytest.mark.django_db
def test_without_limits_nothing_is_asked_of_the_database(
    user: User, settings: Settings, django_assert_num_queries: Any
) -> None:
    settings.USAGE_DAILY_LIMIT_MICRODOLLARS = settings.USAGE_WEEKLY_LIMIT_MICRODOLLARS = 0
    spend(user, 5 * DAY)
    with django_assert_num_queries(0):
        check(user.pk)
        check_spent(user.pk)
        assert refusal_of(user.pk) is None
        assert do_reserve(user.pk, "demo/demo") is None
    assert accept(make_session(user)).turn is not None
    assert counted(user)["day"] == (5 * DAY, 0, 0, 0), "it is counted all the same"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("day", "week", "refused"), [(0, WEEK, "weekly"), (DAY, 0, "daily"), (DAY, WEEK, "daily"), (0, 0, "")]
)
def test_a_limit_of_0_is_none(user: User, settings: Settings, day: int, week: int, refused: str) -> None:
    settings.USAGE_DAILY_LIMIT_MICRODOLLARS, settings.USAGE_WEEKLY_LIMIT_MICRODOLLARS = day, week
    set_tier(user, 3)
    spend(user, 3 * WEEK)
    refusal = refusal_of(user.pk)
    assert (refusal.fields["window"] if refusal else "") == refused


# --- what operators grant ----------------------------------------------------------------------


@pytest.mark.django_db
def test_the_tier_multiplies_both_limits(user: User) -> None:
    set_tier(user, 3)
    usage = usage_of(user.pk)
    assert (usage.tier, usage.day.limit, usage.week.limit) == (3, 3 * DAY, 3 * WEEK)
    spend(user, 3 * DAY - 1)
    check(user.pk)
    spend(user, 1)
    with pytest.raises(UsageLimit):
        check(user.pk)
    set_tier(user, 4)
    check(user.pk)


@pytest.mark.django_db
@pytest.mark.parametrize("tier", [0, -1, 32_768])
def test_a_tier_is_a_number_from_1_on(user: User, tier: int) -> None:
    with pytest.raises(Invalid):
        set_tier(user, tier)
    user.refresh_from_db()
    assert user.tier == 1


@pytest.mark.django_db
def test_a_reset_of_the_day_leaves_the_week(user: User) -> None:
    spend(user, DAY)
    reset(user, week=False)
    assert counted(user) == {"day": (DAY, DAY, 0, 0), "week": (DAY, 0, 0, 0)}
    check(user.pk)
    spend(user, 7)
    reset(user, week=True)
    assert counted(user) == {"day": (DAY + 7, DAY + 7, 0, 0), "week": (DAY + 7, DAY + 7, 0, 0)}
    assert untrue() == []


@pytest.mark.django_db
def test_resetting_what_was_never_used_changes_nothing(user: User, other_user: User) -> None:
    spend(other_user, DAY)
    reset(user, week=True)
    assert not UsageCounter.objects.filter(user=user).exists()
    assert counted(other_user)["day"] == (DAY, 0, 0, 0)


@pytest.mark.django_db
def test_who_is_gone_cannot_be_granted_anything(user: User) -> None:
    gone = User(pk=user.pk)
    user.delete()
    with pytest.raises(NotFound):
        reset(gone, week=True)
    with pytest.raises(NotFound):
        set_tier(gone, 2)


# --- between the steps of a turn ----------------------------------------------------------------

DEAR = "/cost 1500\n/words 1\n/step\n/cost 1500\n/words 2\n/step\n/words 3"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("limit", "outcome", "state"), [(3001, "stop", "done"), (3000, "usage_limit", "partial")], ids=["room", "none"]
)
async def test_a_turn_ends_between_two_steps_and_keeps_what_it_said(
    crew: Any, settings: Settings, limit: int, outcome: str, state: str
) -> None:
    settings.USAGE_DAILY_LIMIT_MICRODOLLARS = limit
    await crew.hire()
    turn = await crew.say(DEAR)
    assert turn.outcome == outcome
    answer = await asyncio.to_thread(lambda: turn.messages.get(role="assistant"))
    assert (answer.state, answer.text.startswith("w1w1 w2")) == (state, True)
    if outcome == "usage_limit":
        assert "usage limit for this day is reached" in turn.error["detail"]
        assert turn.error["retryable"] is False
    assert await asyncio.to_thread(untrue) == []


@pytest.mark.django_db(transaction=True)
async def test_what_others_reserved_ends_no_turn_that_has_begun(crew: Any, settings: Settings) -> None:
    """Only what was used does: else a turn could be ended by one that has not said a word."""
    settings.USAGE_DAILY_LIMIT_MICRODOLLARS = 3001
    turn = await asyncio.to_thread(lambda: accept(make_session(), DEAR).turn)
    await asyncio.to_thread(UsageCounter.objects.filter(user_id=turn.user_id).update, reserved=10_000_000)
    await crew.hire()
    crew.tell(turn.pk)
    assert (await crew.ended(turn)).outcome == "stop"


@pytest.mark.django_db
def test_turns_that_end_over_the_limit_leave_nothing_reserved(user: User) -> None:
    holder = make_running(make_session(user))
    assert Turn.objects.get().reserved > 0
    spend(user, DAY)
    holder.answer()
    assert counted(user)["day"] == (DAY, 0, 0, 0)
    assert untrue() == []
