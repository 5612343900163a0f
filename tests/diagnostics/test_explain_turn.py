"""``manage.py explain_turn``: a turn's history."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import CommandError

from approvals import actions
from approvals.decisions import Wish
from common.db import db
from copilot.models import Session
from copilot.sweep import _old_events
from tests.approvals.waiting import for_each, notes, overdue, submit, waiting
from tests.diagnostics.conftest import Run, manage

pytestmark = pytest.mark.django_db(transaction=True)

SAID = '/think musing\n/words 3\n/tool calculator {"expression": "41 + 1"}\n/results\n/title Sums'


async def test_it_tells_the_history_in_time_order(run: Run) -> None:
    turn = await run(SAID)
    lines = (await db(manage, "explain_turn", str(turn.pk))).splitlines()
    assert lines[0] == f"Turn {turn.pk}: completed (stop)"
    history = lines[next(n for n, line in enumerate(lines) if line.startswith("History")) + 1 :]
    history = history[: history.index("")]
    seconds = [float(line.split()[0]) for line in history]
    assert seconds == sorted(seconds)
    told = [" ".join(line.split()[1:3]) for line in history]
    for one in ("journal submitted", "journal claimed", "journal step", "step 1", "usage step", "tool call"):
        assert one in told
    assert told.index("journal submitted") < told.index("journal claimed") < told.index("journal completed")
    assert any("calculator, step 1: done" in line for line in history)
    assert any(line.startswith("Events: ") and f"from 1 to {turn.last_seq}" in line for line in lines)


@pytest.mark.parametrize("options", [(), ("--events",)])
async def test_what_was_said_is_left_out(run: Run, session: Session, options: tuple[str, ...]) -> None:
    turn = await run(SAID)
    printed = await db(manage, "explain_turn", str(turn.pk), *options)
    for text in ("musing", "w1", "41", "42", "Sums"):
        assert text not in printed.replace(str(turn.pk), "").replace(str(session.pk), "") or text in ("41", "42")
    assert "41 + 1" not in printed


async def test_text_is_shown_on_request(run: Run) -> None:
    turn = await run(SAID)
    printed = await db(manage, "explain_turn", str(turn.pk), "--text")
    for text in ("musing", "w1 w2 w3", "41 + 1", "Sums"):
        assert text in printed


async def test_every_event_is_listed_on_request(run: Run) -> None:
    turn = await run(SAID)
    printed = await db(manage, "explain_turn", str(turn.pk), "--events")
    lines = printed[printed.index("Events: ") :].splitlines()[1:]
    assert [int(line.split()[0]) for line in lines] == list(range(1, turn.last_seq + 1))
    assert lines[0].split()[1] == "start"
    assert lines[-1].split()[1:] == ["finish", "finishReason=stop"]


async def test_a_failed_turn_says_why(run: Run) -> None:
    turn = await run("/fail quota")
    printed = await db(manage, "explain_turn", str(turn.pk), "--events")
    assert printed.startswith(f"Turn {turn.pk}: failed (quota)\n")
    assert "quota: The demo model was asked to fail with quota." in printed
    assert "data-error code=quota" in printed


async def test_a_pruned_turn_is_told_of_all_the_same(run: Run, settings: Any) -> None:
    turn = await run("/words 3")
    settings.EVENT_RETENTION_SECONDS = 0
    await db(_old_events)
    assert f"(the {turn.last_seq - 1} before them were pruned)" in await db(manage, "explain_turn", str(turn.pk))


def test_what_a_person_is_asked_and_decides_is_told() -> None:
    action = waiting(*notes("the weather", "the time"))
    turn_id, name = str(action.turn), action.user.get_username()
    printed = manage("explain_turn", turn_id, "--events")
    assert f"asks      a person: approval {action.pk}\n" in printed
    assert f"{action.pk} asks {name}, until " in printed
    assert ": 2 demo_note\n" in printed
    assert f"data-approval approval={action.pk} status=pending\n" in printed
    submit(action, Wish(decisions=for_each(action, "approve", "reject")))
    printed = manage("explain_turn", turn_id, "--events")
    assert f"approval   {action.pk} decided by {name} on web, once: 1 approve, 1 reject\n" in printed
    assert f"data-approval-decided approval={action.pk} status=decided\n" in printed
    assert "a person: approval" not in printed
    assert "weather" not in printed


def test_the_words_of_a_decision_are_shown_on_request() -> None:
    action = waiting()
    submit(action, Wish(decisions=for_each(action, "reject", reason="Not today.")))
    assert "Not today." not in manage("explain_turn", str(action.turn), "--events")
    assert "1 reject Not today." in manage("explain_turn", str(action.turn), "--text")


@pytest.mark.parametrize("end", ["expired", "cancelled"])
def test_an_approval_that_nobody_decided_says_how_it_ended(end: str) -> None:
    action = waiting(("ask_user", {"question": "Which one?"}))
    assert ": 1 ask_user: Which one?" in manage("explain_turn", str(action.turn), "--text")
    if end == "expired":
        overdue(action)
        assert actions.expire(action.pk)
    else:
        assert actions.cancel(action.pk, reason="stopped")
    printed = manage("explain_turn", str(action.turn))
    assert f"{action.pk} {end}\n" in printed
    assert "Which one?" not in printed


def test_a_turn_that_waits_has_no_holder(submit: Callable[..., Any]) -> None:
    printed = manage("explain_turn", str(submit("hello").turn.pk), "--events")
    assert "no worker" in printed
    assert "hints     0 repeated" in printed
    assert "Events: 0." in printed


@pytest.mark.parametrize("wrong", ["x", "", "123", str(uuid.UUID(int=7))])
def test_an_id_of_no_turn_is_one_line(wrong: str) -> None:
    with pytest.raises(CommandError) as refused:
        manage("explain_turn", wrong)
    assert "\n" not in str(refused.value)
