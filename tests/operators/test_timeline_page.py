"""The page of one turn's history: all that its rows tell, for staff, and what was said for superusers only."""

from __future__ import annotations

import re
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from copilot.diagnostics.explain import explain
from copilot.diagnostics.timeline import timeline
from copilot.events import schema
from copilot.models import OperatorEntry, Session, Turn, TurnEvent, User
from copilot.operators import timeline_page
from copilot.operators.timeline_page import rows_of
from copilot.turns.finish import failed
from tests.approvals.asking import decide_now
from tests.approvals.waiting import notes, waiting
from tests.factories import backdate, make_running, make_session, make_turn
from tests.operators.pages import logged_in, root, staff, words

pytestmark = pytest.mark.django_db

SECRET = "my quiet plan"
SCRIPT = "<script>alert(1)</script>"


def address(turn: Turn | uuid.UUID) -> str:
    return f"/admin/copilot/turn/{getattr(turn, 'pk', turn)}/timeline/"


@pytest.fixture
def admin() -> Client:
    return logged_in(root())


@pytest.fixture
def ran() -> Turn:
    """A turn that was asked something, called a tool and answered."""
    holder = make_running(text=SECRET)
    holder.begin()
    holder.say(SECRET)
    (call,) = holder.step("calculator")
    holder.begin_call(call)
    holder.settle(call, output={"plan": SECRET})
    holder.answer(SECRET)
    return holder.turn


def test_it_tells_what_the_command_tells(admin: Client, ran: Turn) -> None:
    page = words(admin.get(address(ran)))
    lines = explain(ran.pk)
    assert lines is not None
    for line in lines:
        if match := re.match(r" +(\d+\.\d{3})  (\S.*)", line):
            assert match[1] in page
            line = match[2]
        if not line.startswith(("Turn", "History", "Events")):
            assert " ".join(line.split()) in page
    assert f"{ran.status} (stop)" in page
    assert SECRET not in page


@pytest.mark.parametrize("query", ["", "?events=1", "?text=0", "?text=", "?text=yes"])
def test_what_was_said_is_left_out(admin: Client, ran: Turn, query: str) -> None:
    assert SECRET not in admin.get(address(ran) + query).content.decode()
    assert not OperatorEntry.objects.exists()


def test_what_was_said_is_shown_to_a_superuser_who_asks_and_the_look_is_recorded(ran: Turn) -> None:
    operator = root()
    page = words(logged_in(operator).get(f"{address(ran)}?text=1"))
    assert page.count(SECRET) >= 3  # the question, the answer, what the tool returned
    entry = OperatorEntry.objects.get()
    assert (entry.operator, entry.action, entry.target_user) == (operator, "read_text", ran.user_id)
    assert (entry.affected, entry.data) == (1, {"turns": [str(ran.pk)]})
    assert SECRET not in str(entry.data)


def test_what_was_said_is_not_shown_when_the_look_cannot_be_recorded(
    admin: Client, ran: Turn, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("no room")

    monkeypatch.setattr(timeline_page, "record", broken)
    with pytest.raises(RuntimeError):
        admin.get(f"{address(ran)}?text=1")


def test_staff_who_may_see_turns_see_the_page_but_not_what_was_said(ran: Turn) -> None:
    client = logged_in(staff("view_turn"))
    page = client.get(address(ran))
    assert page.status_code == 200
    assert "text=1" not in page.content.decode()
    refused = client.get(f"{address(ran)}?text=1")
    assert refused.status_code == 403
    assert SECRET not in refused.content.decode()
    assert not OperatorEntry.objects.exists()


@pytest.mark.parametrize("query", ["", "?text=1"])
def test_nobody_else_sees_it(ran: Turn, query: str) -> None:
    assert logged_in(staff("view_session")).get(address(ran) + query).status_code == 403
    for client in (Client(), logged_in(ran.user)):  # also whose turn it is
        answer = client.get(address(ran) + query)
        assert answer.status_code == 302
        assert "/admin/login/" in answer["Location"]


def test_text_is_escaped_wherever_it_comes_from(admin: Client) -> None:
    session = make_session()
    Session.objects.filter(pk=session.pk).update(title=SCRIPT)
    User.objects.filter(pk=session.user_id).update(username=SCRIPT)
    holder = make_running(session, text=SCRIPT)
    Turn.objects.filter(pk=holder.turn.pk).update(model=SCRIPT, worker=uuid.uuid4())
    holder.begin()
    holder.say(SCRIPT)
    holder.finish(failed("unknown", f"The provider said {SCRIPT}."))
    for query in ("", "?text=1&events=1"):
        page = admin.get(address(holder.turn) + query).content.decode()
        assert SCRIPT not in page
        assert "&lt;script&gt;alert(1)" in page


@pytest.mark.parametrize("wrong", [uuid.UUID(int=7), "x", "1"])
def test_an_id_of_no_turn_is_not_found(admin: Client, wrong: Any) -> None:
    answer = admin.get(address(wrong))
    # Django's own page of a row takes any other path for an id, and says that there is no such row.
    assert answer.status_code == (404 if isinstance(wrong, uuid.UUID) else 302)


@pytest.mark.parametrize("after", ["x", "-1", "1" * 50])
def test_a_place_in_the_events_that_is_none_is_refused(admin: Client, ran: Turn, after: str) -> None:
    assert admin.get(f"{address(ran)}?events=1&after={after}").status_code == 400


def test_a_long_turn_is_summed_up_and_listed_a_part_at_a_time(
    admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timeline_page, "EVENTS", 40)
    holder = make_running()
    holder.begin()
    holder.say(*(f"w{n} " for n in range(100)))
    holder.finish()
    turn = holder.turn
    count = TurnEvent.objects.filter(turn=turn).count()
    assert turn.last_seq == count
    seen: list[int] = []
    page = admin.get(f"{address(turn)}?events=1")
    assert f"{count}, from 1 to {count}" in words(page)
    assert "100 text-delta" in words(page)
    while True:
        seen += [int(seq) for seq in re.findall(r'<li value="(\d+)">', page.content.decode())]
        more = re.search(r'href="(\?events=1[^"]*after=[^"]*)#events"', page.content.decode())
        if more is None:
            break
        page = admin.get(address(turn) + more[1].replace("&amp;", "&"))
    assert seen == list(range(1, count + 1))


def test_a_turn_costs_as_many_queries_with_many_events_as_with_few(admin: Client, ran: Turn) -> None:
    def queries() -> int:
        with CaptureQueriesContext(
            connection,
        ) as seen:
            assert admin.get(f"{address(ran)}?events=1").status_code == 200
        return len(seen)

    queries()  # content types and the like are kept
    before = queries()
    last = ran.last_seq or 0
    more = [TurnEvent(turn=ran, seq=last + n, chunk=schema.start_step()) for n in range(1, 2000)]
    TurnEvent.objects.bulk_create(more)
    assert queries() == before <= 14


def test_a_pruned_turn_says_what_is_gone(admin: Client, ran: Turn) -> None:
    TurnEvent.objects.filter(turn=ran, seq__lt=ran.last_seq).delete()
    Turn.objects.filter(pk=ran.pk).update(pruned=True)
    assert (
        f"1, from {ran.last_seq} to {ran.last_seq} (the {(ran.last_seq or 0) - 1} before them were pruned)"
        in words(admin.get(address(ran)))
    )
    TurnEvent.objects.filter(turn=ran).delete()
    assert "Events None." in words(admin.get(address(ran)))


def test_what_takes_time_is_drawn_to_scale(ran: Turn) -> None:
    backdate(ran, created_at=timedelta(seconds=10))
    found = timeline(ran.pk)
    assert found is not None
    rows = rows_of(found)
    spent = {row.spent for row in rows}
    assert {"queue", "model", "tool", "moment"} <= spent
    for row in rows:
        assert 0 <= row.x <= row.x + row.width <= 1000
        assert row.width >= 4  # none is too short to be seen
    assert [row.x for row in rows if row.spent == "moment"][-1] > 900  # ten seconds after it was submitted


def test_the_time_of_a_decision_is_the_time_that_a_person_took() -> None:
    action = waiting(*notes("the weather"))
    decide_now(action, "approve")
    found = timeline(action.turn)
    assert found is not None
    (entry,) = [entry for entry in found.entries if entry.spent == "person"]
    assert entry.since == action.created_at


def test_a_turn_to_which_nothing_happened_yet_has_a_page(admin: Client) -> None:
    turn = make_turn()
    turn.journal.all().delete()
    turn.messages.all().delete()
    assert "queued" in words(admin.get(address(turn)))


def test_the_list_and_the_row_lead_to_it(admin: Client, ran: Turn) -> None:
    for page in ("/admin/copilot/turn/", f"/admin/copilot/turn/{ran.pk}/change/"):
        assert f'href="{address(ran)}"' in admin.get(page).content.decode()
