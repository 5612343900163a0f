"""What runs is exact, what anybody can read is not: a secret in an argument reaches the tool and nothing else."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection

from approvals import actions
from approvals.decisions import Wish, _still_hidden, check_arguments
from approvals.models import Action, AuditEntry
from approvals.objects import action_object
from common.db import db
from common.errors import Invalid
from common.redaction import Redacted, redact_json
from common.sealing import digest_of_arguments
from copilot.agent.verdicts import Judge, Run
from copilot.models import ToolCall
from copilot.providers import demo
from copilot.turns import progress
from copilot.turns.cancel import request_stop
from tests.approvals.asking import People, note, written
from tests.approvals.waiting import (
    calls_of,
    for_each,
    notes,
    overdue,
    run_open_calls,
    submit,
    turn_of,
    waiting,
)
from tests.factories import events_of, hold
from tests.harness import Crew

rows = pytest.mark.django_db
real = pytest.mark.django_db(transaction=True)

#: Made up, in the form of a key that everybody knows.
SECRET = "ghp_" + "Zk3v9QmX7rT2bNw8LsY4cHd6JfG1pA5eUoIx"
OTHER = "ghp_" + "B7nQ2wErT9yUiO4pAsD6fGhJ1kLzX3cVbNm8"
WITH = f"use {SECRET} for it"


def everywhere(needle: str) -> list[str]:
    """Return the columns of all tables in which a text is to be found."""
    found = []
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names():
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
            names = [column[0] for column in cursor.description or ()]
            for row in cursor.fetchall():
                found += [
                    f"{table}.{name}" for name, value in zip(names, row, strict=True) if needle in str(value)
                ]
    return sorted(set(found))


def sealed_columns() -> dict[str, int]:
    """Return how many rows have something in each sealed column."""
    return {
        "action": Action.objects.exclude(sealed="").count(),
        "arguments": ToolCall.objects.exclude(sealed="").count(),
        "output": ToolCall.objects.exclude(sealed_output="").count(),
    }


NOTHING_SEALED = {"action": 0, "arguments": 0, "output": 0}


@pytest.fixture
def secretive(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that knows a secret which nobody told it: it puts it where a message says @@."""
    arguments = demo._tool_arguments
    monkeypatch.setattr(demo, "_tool_arguments", lambda call: arguments(call).replace("@@", SECRET))


# --- through a whole turn -------------------------------------------------------------------


@real
@pytest.mark.usefixtures("secretive")
async def test_a_secret_argument_reaches_the_tool_and_no_row_and_no_log_line(
    crew: Crew, people: People, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await crew.hire()
    turn, action = await people.ask(note("use @@ for it"))
    assert [row for row in await db(everywhere, SECRET) if "turnevent" not in row] == []
    assert "⟦hidden:" in action.requests[0]["arguments"]["text"]
    await people.decide(action, "approve")
    turn = await crew.ended(turn)
    assert (turn.status, written(turn.session_id)) == ("completed", [WITH])
    assert [row for row in await db(everywhere, SECRET) if "turnevent" not in row] == []
    assert await db(sealed_columns) == NOTHING_SEALED
    assert SECRET not in caplog.text


@real
@pytest.mark.usefixtures("secretive")
async def test_no_event_of_the_turn_has_the_secret(crew: Crew, people: People) -> None:
    await crew.hire()
    turn, action = await people.ask(note("use @@ for it"))
    await people.decide(action, "approve")
    turn = await crew.ended(turn)
    log = await db(lambda: "".join(_joined_inputs(events_of(turn))) + json.dumps(events_of(turn)))
    assert SECRET not in log


def _joined_inputs(events: list[Any]) -> Iterator[str]:
    """What a page puts together from pieces."""
    return (chunk["inputTextDelta"] for _, chunk in events if chunk["type"] == "tool-input-delta")


@real
@pytest.mark.usefixtures("secretive")
async def test_without_redaction_it_is_found(crew: Crew, people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: the search finds what is there."""
    for module in (actions, progress):
        monkeypatch.setattr(module, "redact_json", lambda value: Redacted(value, {}))
    await crew.hire()
    await people.ask(note("use @@ for it"))
    found = await db(everywhere, SECRET)
    assert "approvals_action.requests" in found
    assert "copilot_toolcall.arguments" in found


# --- the sealed columns ---------------------------------------------------------------------


@rows
@pytest.mark.parametrize("end", ["decided", "rejected", "stopped", "expired"])
def test_sealed_values_are_gone_when_they_are_needed_no_more(end: str) -> None:
    action = waiting(*notes(WITH))
    assert sealed_columns() == {"action": 1, "arguments": 1, "output": 0}
    if end in ("decided", "rejected"):
        submit(action, Wish(decisions=for_each(action, "approve" if end == "decided" else "reject")))
        assert sealed_columns()["action"] == 0
        holder = hold(turn_of(action))
        assert run_open_calls(holder) == ([{"text": WITH}] if end == "decided" else [])
        holder.answer()
    elif end == "stopped":
        request_stop(user=action.user, session_id=action.session, turn_id=None, reason="stopped")
    else:
        overdue(action)
        with pytest.raises(Exception, match="is over"):
            submit(action, Wish(decisions=for_each(action, "approve")))
    assert sealed_columns() == NOTHING_SEALED
    assert everywhere(SECRET) == []


# --- edits ----------------------------------------------------------------------------------


def edit(action: Action, text: str) -> None:
    """Edit the first call."""
    submit(action, Wish(decisions=for_each(action, "edit", arguments={"text": text})))


def ran_after(action: Action) -> list[dict[str, Any]]:
    """Return the arguments with which the calls of a decided action run."""
    return run_open_calls(hold(turn_of(action)))


def placeholder_in(action: Action, place: int = 0) -> str:
    """Return what is shown for the hidden value of a call, with what is shown of the value itself."""
    shown: str = action.requests[place]["arguments"]["text"]
    return shown.removeprefix("use ").removesuffix(" for it")


@rows
def test_an_edit_keeps_a_hidden_value_by_its_placeholder() -> None:
    action = waiting(*notes(WITH))
    hidden = placeholder_in(action)
    edit(action, f"use {hidden} twice: {hidden}")
    [call] = calls_of(turn_of(action))
    assert call.arguments == {"text": f"use {hidden} twice: {hidden}"}
    assert call.sha256 == digest_of_arguments({"text": f"use {SECRET} twice: {SECRET}"})
    assert everywhere(SECRET) == []
    assert ran_after(action) == [{"text": f"use {SECRET} twice: {SECRET}"}]


@rows
def test_what_was_hidden_stays_so_when_an_edit_takes_away_what_told_that_it_is_a_secret() -> None:
    action = waiting(*notes(WITH))
    shown: str = action.requests[0]["arguments"]["text"]
    hidden = shown[shown.index("⟦") : shown.index("⟧") + 1]
    edit(action, f"the end of it is {hidden}")
    [call] = calls_of(turn_of(action))
    assert call.arguments == {"text": f"the end of it is {hidden}"}
    assert everywhere(SECRET.removeprefix("ghp_")) == []
    [ran] = ran_after(action)
    assert ran["text"].endswith(SECRET.removeprefix("ghp_"))


@rows
def test_an_edit_may_take_a_hidden_value_out() -> None:
    action = waiting(*notes(WITH))
    edit(action, "use nothing")
    assert everywhere(SECRET) == []
    assert ran_after(action) == [{"text": "use nothing"}]


@rows
def test_a_secret_that_a_person_types_in_an_edit_is_hidden_too() -> None:
    action = waiting(*notes("hello"))
    edit(action, f"use {OTHER}")
    assert everywhere(OTHER) == []
    entry = AuditEntry.objects.get(action=action.pk)
    assert "⟦hidden:" in entry.final["text"]
    assert ran_after(action) == [{"text": f"use {OTHER}"}]


@rows
@pytest.mark.parametrize(
    "change", [lambda name: name.replace(":", ":0")[:-2] + "⟧", lambda _: "⟦hidden:00000000⟧"]
)
def test_a_placeholder_that_was_changed_refuses_the_edit(change: Any) -> None:
    action = waiting(*notes(WITH))
    with pytest.raises(Invalid, match="hidden value was changed") as refused:
        edit(action, f"use {change(placeholder_in(action))}")
    assert refused.value.status == 400
    assert Action.objects.get(pk=action.pk).status == "pending"


@rows
def test_the_hidden_value_of_one_call_cannot_be_had_by_another() -> None:
    action = waiting(*notes(WITH, "nothing"))
    stolen = placeholder_in(action)
    decisions = [
        for_each(action, "approve")[0],
        {"tool_call_id": action.requests[1]["tool_call_id"], "type": "edit", "arguments": {"text": stolen}},
    ]
    with pytest.raises(Invalid, match="hidden value was changed"):
        submit(action, Wish(decisions=decisions))


@rows
def test_two_secrets_of_a_call_are_told_apart() -> None:
    action = waiting(*notes(f"{SECRET} then {OTHER}"))
    shown: str = action.requests[0]["arguments"]["text"]
    first, second = shown.split(" then ")
    assert first != second
    edit(action, f"{second} then {first}")
    assert ran_after(action) == [{"text": f"{OTHER} then {SECRET}"}]


def test_what_an_edit_keeps_of_keys_and_numbers_stays_hidden() -> None:
    given = {SECRET: {"password": 12345678}}
    before = redact_json(given)
    [key] = before.shown
    number = before.shown[key]["password"]
    sent = {key: {"pin": number, "note": f"it is {number}"}}
    exact = check_arguments(sent, {}, before.hidden)
    assert exact == {SECRET: {"pin": 12345678, "note": "it is 12345678"}}
    assert _still_hidden(redact_json(exact).shown, sent, before.hidden) == sent


# --- the decision is bound to what was shown --------------------------------------------------


@rows
def test_what_is_shown_of_an_action_has_no_digest_and_nothing_sealed() -> None:
    action = waiting(*notes(WITH))
    submit(action, Wish(decisions=for_each(action, "approve")))
    shown = json.dumps(action_object(Action.objects.select_related("decided_by").get(pk=action.pk)))
    assert SECRET not in shown
    assert "sha256" not in shown
    assert "sealed" not in shown


@rows
@pytest.mark.parametrize("checked", [pytest.param(True, id="guarded"), pytest.param(False, id="control")])
def test_arguments_that_changed_after_the_decision_do_not_run(
    checked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    action = waiting()
    submit(action, Wish(decisions=for_each(action, "approve")))
    ToolCall.objects.filter(turn=action.turn).update(arguments={"text": "something else"})
    holder = hold(turn_of(action))
    if not checked:
        monkeypatch.setattr(Judge, "_as_approved", lambda self, call, tool, given: Run(call, tool, given))
    assert run_open_calls(holder) == ([] if checked else [{"text": "something else"}])
    [call] = calls_of(turn_of(action))
    assert call.state == ("denied" if checked else "done")


@rows
@pytest.mark.parametrize(
    "tamper",
    [
        lambda decision: decision | {"sha256": "0" * 64},
        lambda decision: decision | {"type": "reject"},
        lambda decision: decision | {"tool_call_id": "5f0b3a52-64f5-4a0e-9a3e-0c7a7b1f2d33"},
    ],
)
def test_an_approved_call_without_a_decision_that_fits_does_not_run(tamper: Any) -> None:
    action = waiting()
    submit(action, Wish(decisions=for_each(action, "approve")))
    stored = Action.objects.get(pk=action.pk)
    Action.objects.filter(pk=action.pk).update(decisions=[tamper(stored.decisions[0])])
    assert ran_after(action) == []


@rows
def test_a_sealed_argument_that_cannot_be_read_any_more_does_not_run(settings: Any) -> None:
    action = waiting(*notes(WITH))
    submit(action, Wish(decisions=for_each(action, "approve")))
    settings.SECRET_KEY = "another one, without the old one beside it"
    settings.SECRET_KEY_FALLBACKS = []
    assert ran_after(action) == []
    [call] = calls_of(turn_of(action))
    assert (call.state, "cannot be read" in call.error) == ("error", True)


@rows
def test_a_secret_key_that_was_rotated_still_reads_what_waits(settings: Any) -> None:
    action = waiting(*notes(WITH))
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another one, with the old one beside it"
    edit(action, f"use {placeholder_in(action)}")
    assert ran_after(action) == [{"text": f"use {SECRET}"}]
