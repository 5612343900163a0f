"""Random histories of turns that ask people: what runs is what was allowed, once, whatever happens meanwhile."""

from __future__ import annotations

import uuid
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from approvals import audit
from approvals.decisions import Wish
from approvals.models import Action, AuditEntry
from common.errors import Conflict, Invalid
from copilot import sweep as sweeping
from copilot.agent.verdicts import Judge, Run
from copilot.diagnostics import invariants
from copilot.events import schema
from copilot.events.log import read_events
from copilot.models import ToolCall, Turn
from copilot.turns import recover
from copilot.turns.answered import BEST_JUDGEMENT
from copilot.turns.cancel import request_stop
from copilot.turns.pause import Asked
from copilot.turns.progress import CallOutcome, begin_call, settle_call
from tests.approvals.waiting import (
    Call,
    calls_of,
    commit_calls,
    everything,
    judge_of,
    overdue,
    pause_again,
    submit,
)
from tests.factories import Holder, accept, claim_next, expire_lease, make_session, make_user

EXAMPLES = settings(
    max_examples=15,
    stateful_step_count=25,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
CHOICE = st.integers(0, 100)
PLACES = st.integers(0, 1)

#: What a model may ask for in one step: asked about, never asked about, denied, questions.
CALLS: dict[str, Call] = {
    "note": ("demo_note", {"text": "hello"}),
    "secret": ("demo_note", {"text": "use ghp_Zk3v9QmX7rT2bNw8LsY4cHd6JfG1pA5eUoIx"}),
    "once": ("demo_once", {"text": "hello"}),
    "sum": ("calculator", {"expression": "6 * 7"}),
    "denied": ("demo_boom", {}),
    "wrong": ("demo_note", {"text": 7}),
    "question": ("ask_user", {"question": "Which one?"}),
    "timed": ("ask_user", {"question": "Which one?", "timeout_seconds": 60}),
}
BATCHES = st.lists(st.sampled_from(list(CALLS)), min_size=1, max_size=4)
EDITED = {"text": "edited"}
CRASHES = st.sampled_from(["", "", "", "begun", "ran"])


class Approvals(RuleBasedStateMachine):
    """Two sessions of one person, of which the second asks about everything, and any number of workers."""

    def __init__(self) -> None:
        super().__init__()
        self.undo = transaction.atomic()
        self.undo.__enter__()
        user = make_user()
        self.sessions = [make_session(user), make_session(user, approval_mode="ask_all")]
        self.holders: dict[uuid.UUID, Holder] = {}
        #: How often each call had its effect, and with which arguments.
        self.ran: Counter[uuid.UUID] = Counter()
        self.ran_with: dict[uuid.UUID, dict[str, Any]] = {}
        #: What people said about each call.
        self.decided: dict[uuid.UUID, str] = {}
        self.wishes: dict[uuid.UUID, Wish] = {}
        #: Tools that are allowed from now on, by session.
        self.remembered: set[tuple[uuid.UUID, str]] = set()

    def teardown(self) -> None:
        try:
            assert invariants.check() == []
        finally:
            transaction.set_rollback(True)
            self.undo.__exit__(None, None, None)

    # --- people -----------------------------------------------------------------------------

    @rule(place=PLACES, delivery=st.sampled_from(["asap", "next", "interrupt"]))
    def send(self, place: int, delivery: str) -> None:
        session = self.sessions[place]
        if session.messages.queued().count() > 3:
            return
        live = session.turns.live().first()
        accepted = accept(session, "hello", delivery=delivery)
        if live is not None and live.status == "requires_action":
            assert accepted.waiting_for == "approval"

    @rule(place=PLACES)
    def stop(self, place: int) -> None:
        session = self.sessions[place]
        live = session.turns.live().first()
        request_stop(user=session.user, session_id=session.id, turn_id=None, reason="stopped")
        if live is not None and live.status != "running":
            assert not session.turns.live().exists(), "whoever waits is stopped at once"

    def pending(self, choice: int) -> Action | None:
        """Return an action that is pending; a turn is brought to ask when there is none."""
        found = list(Action.objects.select_related("user").pending().order_by("pk"))
        if found:
            return found[choice % len(found)]
        holder = self.holder(choice)
        if holder is None:
            return None
        if not self.open_calls(holder):
            self.ask(holder, ["note", "question", "note"] if choice % 2 else ["once", "secret", "sum", "timed"])
        for _ in self.open_calls(holder):
            self.run_one(holder, 0, "")
        return self.pause_if_it_has_to(holder)

    @rule(choice=CHOICE, kinds=st.lists(CHOICE, min_size=4, max_size=4), scope=CHOICE)
    def decide(self, choice: int, kinds: list[int], scope: int) -> None:
        if action := self.pending(choice):
            wish = self.wish(action, kinds, action.scopes[scope % len(action.scopes)])
            submit(action, wish)
            self.wishes[action.pk] = wish
            for request, said in zip(action.requests, wish.decisions or (), strict=True):
                self.decided[uuid.UUID(request["tool_call_id"])] = said["type"]
                if wish.scope != "once" and said["type"] in ("approve", "edit"):
                    places = [action.session] if wish.scope == "session" else [each.pk for each in self.sessions]
                    self.remembered |= {(place, request["name"]) for place in places}

    @staticmethod
    def wish(action: Action, kinds: list[int], scope: str = "once") -> Wish:
        decisions = []
        for request, kind in zip(action.requests, kinds, strict=False):
            allowed = request["allowed_decisions"]
            said = {"tool_call_id": request["tool_call_id"], "type": allowed[kind % len(allowed)]}
            if said["type"] == "edit" and request["name"] not in ("demo_note", "demo_once"):
                said["type"] = "approve"
            extra = {"edit": {"arguments": EDITED}, "respond": {"text": "Words."}}
            decisions.append({**said, **extra.get(said["type"], {})})
        return Wish(decisions=decisions, scope=scope)

    @rule(choice=CHOICE, how=st.sampled_from(["missing", "twice", "unknown", "scope", "empty"]))
    def decide_wrongly(self, choice: int, how: str) -> None:
        if action := self.pending(choice):
            right = list(self.wish(action, [0, 0, 0, 0]).decisions or ())
            wrong = {
                "missing": Wish(decisions=right[1:]),
                "twice": Wish(decisions=[*right, right[0]]),
                "unknown": Wish(decisions=[*right, {"tool_call_id": str(uuid.uuid4()), "type": "approve"}]),
                "scope": Wish(decisions=right, scope="ever"),
                "empty": Wish(),
            }[how]
            before = everything()
            with pytest.raises(Invalid):
                submit(action, wrong)
            assert everything() == before

    @rule(choice=CHOICE)
    def decide_again(self, choice: int) -> None:
        over = list(Action.objects.select_related("user").exclude(status="pending").order_by("pk"))
        if not over:
            return
        action = over[choice % len(over)]
        before = everything()
        if action.pk in self.wishes:
            assert submit(action, self.wishes[action.pk]).status == "decided"
        same = self.wishes.get(action.pk)
        scope = "once" if same is not None and same.scope == "session" else "session"
        with pytest.raises(Conflict):
            submit(action, self.wish(action, [3, 3, 3, 3], scope=scope))
        assert everything() == before

    @rule(choice=CHOICE, late=st.booleans())
    def expire(self, choice: int, late: bool) -> None:
        action = self.pending(choice)
        if action is None:
            return
        overdue(action)
        if late:
            with pytest.raises(Conflict):
                submit(action, self.wish(action, [0, 0, 0, 0]))
        else:
            assert sweeping.sweep()["overdue_approvals"] == 1
        turn = Turn.objects.get(pk=action.turn)
        assert turn.status == ("queued" if action.goes_on else "cancelled")

    # --- workers ----------------------------------------------------------------------------

    @rule()
    def claim(self) -> None:
        claim = claim_next(uuid.uuid4())
        if claim is not None:
            self.holders[claim.turn_id] = Holder(claim)

    def holder(self, choice: int) -> Holder | None:
        """Return a worker that holds a turn which goes on; one is begun where nothing else is to be done."""
        self.forget_those_who_lost_their_turn()
        if not self.holders:
            self.claim()
        idle = next((session for session in self.sessions if not session.turns.live().exists()), None)
        if not self.holders and idle is not None:
            accept(idle, "hello")
            self.claim()
        holders = [each for each in self.holders.values() if each.turn.stop_requested_at is None]
        return holders[choice % len(holders)] if holders else None

    def open_calls(self, holder: Holder) -> list[ToolCall]:
        return [call for call in calls_of(holder.turn) if call.is_open]

    @rule(choice=CHOICE, batch=BATCHES)
    def ask_for(self, choice: int, batch: list[str]) -> None:
        if (holder := self.holder(choice)) and not self.open_calls(holder):
            self.ask(holder, batch)

    @staticmethod
    def ask(holder: Holder, batch: list[str]) -> None:
        holder.begin()
        holder.say("Some words.")
        commit_calls(holder, *(CALLS[name] for name in batch))

    @rule(choice=CHOICE, which=CHOICE, crash=CRASHES)
    def run_call(self, choice: int, which: int, crash: str) -> None:
        if holder := self.holder(choice):
            self.run_one(holder, which, crash)

    def run_one(self, holder: Holder, which: int, crash: str) -> None:
        verdicts = [(call, judge_of(holder).judge(call)) for call in self.open_calls(holder)]
        ready = [(call, verdict) for call, verdict in verdicts if not isinstance(verdict, Asked)]
        if not ready:
            return
        call, verdict = ready[which % len(ready)]
        if isinstance(verdict, CallOutcome):
            holder.write(settle_call, call_id=call.pk, outcome=verdict)
            return
        self.may_run(holder, call, verdict)
        if call.state != ToolCall.State.RUNNING:
            holder.write(begin_call, call_id=call.pk)
        if crash != "begun":
            self.ran[call.pk] += 1
            self.ran_with[call.pk] = verdict.arguments
        if crash:
            self.take_over(holder)
        else:
            outcome = CallOutcome(ToolCall.State.DONE, output={"ok": True})
            holder.write(settle_call, call_id=call.pk, outcome=outcome)

    def may_run(self, holder: Holder, call: ToolCall, verdict: Run) -> None:
        """What is asked about runs by a decision, or by one that was remembered before."""
        asks = verdict.tool.asks or self.sessions[1].pk == holder.claim.session_id
        if asks and call.state != ToolCall.State.RUNNING:
            known = (holder.claim.session_id, call.name) in self.remembered
            assert self.decided.get(call.pk) in ("approve", "edit") or known

    @rule(choice=CHOICE)
    def pause(self, choice: int) -> None:
        if holder := self.holder(choice):
            self.pause_if_it_has_to(holder)

    def pause_if_it_has_to(self, holder: Holder) -> Action | None:
        verdicts = [judge_of(holder).judge(call) for call in self.open_calls(holder)]
        if not verdicts or not all(isinstance(verdict, Asked) for verdict in verdicts):
            return None
        action = pause_again(holder)
        assert not self.decided.keys() & {uuid.UUID(each["tool_call_id"]) for each in action.requests}
        return action

    @rule(choice=CHOICE)
    def deliver(self, choice: int) -> None:
        if (holder := self.holder(choice)) and not self.open_calls(holder):
            holder.deliver()

    @rule(choice=CHOICE)
    def finish(self, choice: int) -> None:
        for stopping in [each for each in self.holders.values() if each.turn.stop_requested_at is not None]:
            stopping.finish()
        if (holder := self.holder(choice)) and not self.open_calls(holder):
            holder.answer()

    @rule(choice=CHOICE)
    def lose(self, choice: int) -> None:
        if holder := self.holder(choice):
            self.take_over(holder)

    def take_over(self, holder: Holder) -> None:
        expire_lease(holder.claim.turn_id)
        assert recover.take_over(holder.claim.turn_id, lease=5)

    @rule()
    def sweep(self) -> None:
        done = sweeping.sweep()
        assert not {"stranded_messages", "waiting_for_nothing", "overdue_approvals"} & done.keys()

    @precondition(lambda self: Turn.objects.filter(not_before__isnull=False).exists())
    @rule()
    def time_passes(self) -> None:
        Turn.objects.filter(not_before__isnull=False).update(not_before=timezone.now() - timedelta(seconds=1))

    # --- what must hold ---------------------------------------------------------------------

    @rule()
    def look_at_everything(self) -> None:
        """All rules of the checker; too many queries to do it after each step."""
        assert invariants.check() == []

    @invariant()
    def forget_those_who_lost_their_turn(self) -> None:
        for turn_id, holder in list(self.holders.items()):
            if holder.turn.fence != holder.claim.fence:
                del self.holders[turn_id]

    @invariant()
    def each_turn_ends_once(self) -> None:
        for turn in Turn.objects.all():
            ends = [seq for seq, chunk in read_events(turn.pk) if schema.is_terminal(chunk)]
            assert ends == ([turn.last_seq] if turn.is_terminal else [])

    @invariant()
    def a_turn_waits_exactly_while_its_action_is_pending(self) -> None:
        waits = Turn.objects.filter(status="requires_action").order_by("pk").values_list("pk", "action_id")
        assert list(waits) == list(Action.objects.pending().order_by("turn").values_list("turn", "pk"))

    @invariant()
    def what_ran_is_what_was_allowed(self) -> None:
        for call in ToolCall.objects.filter(name__in=["demo_note", "demo_once"]):
            said, times = self.decided.get(call.pk, ""), self.ran[call.pk]
            assert times <= 1
            assert not (said in ("reject", "respond") and times)
            assert not (call.state in ("waiting", "approved", "denied") and times)
            assert not (call.state == "done" and said != "respond" and times != 1)
            if times and said == "edit":
                assert self.ran_with[call.pk] == EDITED

    @invariant()
    def what_was_allowed_ran_or_it_is_known_why_not(self) -> None:
        allowed = [call_id for call_id, said in self.decided.items() if said in ("approve", "edit")]
        for call in ToolCall.objects.filter(turn__status="completed", pk__in=allowed):
            assert call.state in ("done", "unknown")
            assert call.state == "unknown" or self.ran[call.pk] >= 1

    @invariant()
    def each_decision_is_audited_once(self) -> None:
        entries = AuditEntry.objects.filter(event="decided").values_list("tool_call", flat=True)
        assert Counter(entries) == Counter(self.decided.keys())

    @invariant()
    def a_question_has_words_for_its_result(self) -> None:
        for call in ToolCall.objects.filter(name="ask_user", state="done"):
            assert call.output in ("Words.", BEST_JUDGEMENT)


@pytest.fixture(autouse=True)
def _one_tool_is_denied(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    monkeypatch.setattr(sweeping, "dispatch", lambda turn_id: None)
    settings.APPROVALS_DENY = ["demo_boom"]


@pytest.mark.django_db
@pytest.mark.timeout(600)
def test_whatever_happens_only_what_was_allowed_runs_and_once() -> None:
    run_state_machine_as_test(Approvals, settings=EXAMPLES)


def _run_whatever(self: Judge, call: ToolCall, tool: Any, given: Any) -> Run:
    return Run(call, tool, given)


BREAKS: dict[str, tuple[Any, str, Any]] = {
    "what is asked about runs": (Judge, "_by_policy", _run_whatever),
    "nothing is audited": (audit, "note_decided", lambda *args, **kwargs: None),
}


@pytest.mark.django_db
@pytest.mark.timeout(600)
@pytest.mark.parametrize("broken", BREAKS)
def test_a_guard_that_is_missing_is_found(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(*BREAKS[broken])
    quick = settings(EXAMPLES, max_examples=25, phases=[Phase.generate], report_multiple_bugs=False)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(Approvals, settings=quick)
