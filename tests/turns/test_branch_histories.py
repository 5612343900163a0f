"""Random histories of a conversation that is edited, answered again and looked back in: one branch is shown."""

from __future__ import annotations

import uuid
from contextlib import suppress

import pytest
from django.db import transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from common.errors import Conflict
from copilot import selectors
from copilot.agent.state import load
from copilot.diagnostics import invariants
from copilot.models import Message, Turn
from copilot.turns.branches import edit_message, regenerate, show_branch
from copilot.turns.cancel import request_stop
from copilot.turns.finish import failed
from copilot.turns.submit import Accepted, deliver_queued
from tests.factories import Holder, accept, claim_next, fresh, make_session

EXAMPLES = settings(
    max_examples=30, stateful_step_count=30, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
CHOICE = st.integers(0, 100)


class Conversations(RuleBasedStateMachine):
    """One session. ``shown`` is what a person should see of it: the texts of the settled messages, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.undo = transaction.atomic()
        self.undo.__enter__()
        self.session = make_session()
        self.holder: Holder | None = None
        self.names = 0
        #: Texts from each message's branch when it was last the head; by the id of that message.
        self.ends: dict[uuid.UUID, list[str]] = {}
        self.sent: list[tuple[str, uuid.UUID | None, str, Accepted]] = []

    def teardown(self) -> None:
        try:
            assert invariants.check() == []
        finally:
            transaction.set_rollback(True)
            self.undo.__exit__(None, None, None)

    def new_name(self) -> str:
        self.names += 1
        return f"m{self.names}"

    def shown(self) -> list[str]:
        return [message.text for message in selectors.messages_page(fresh(self.session), limit=100).messages]

    def live(self) -> Turn | None:
        return selectors.active_turn(self.session)

    # --- people -----------------------------------------------------------------------------

    @rule()
    def send(self) -> None:
        before, text = self.shown(), self.new_name()
        held = [message.text for message in selectors.queued_of(self.session)]
        with suppress(Conflict):
            accepted = accept(self.session, text, client_id=text)
            self.sent.append(("send", None, text, accepted))
            assert self.shown() == (before if accepted.queued else [*before, *held, text])

    @rule(choice=CHOICE)
    def edit(self, choice: int) -> None:
        before, text = self.shown(), self.new_name()
        rows = list(self.session.messages.filter(role="user").order_by("number"))
        if not rows:
            return
        message = rows[choice % len(rows)]
        try:
            accepted = edit_message(user=self.session.user, message_id=message.id, text=text, client_id=text)
        except Conflict:
            assert self.live() is not None or message.seq is None or not message.shown
            assert self.shown() == before
            return
        self.sent.append(("edit", message.id, text, accepted))
        assert self.shown() == [*before[: before.index(message.text)], text]

    @rule()
    def answer_again(self) -> None:
        before, name = self.shown(), self.new_name()
        question = self.session.messages.filter(role="user", shown=True, seq__isnull=False).order_by("seq").last()
        try:
            accepted = regenerate(user=self.session.user, session_id=self.session.id, client_id=name)
        except Conflict:
            assert self.live() is not None or question is None
            return
        assert accepted.message == question
        self.sent.append(("again", None, name, accepted))
        assert self.shown() == before[: before.index(accepted.message.text) + 1]

    @rule(choice=CHOICE)
    def do_it_again(self, choice: int) -> None:
        """A repetition changes nothing, whatever happened since."""
        if not self.sent:
            return
        how, message_id, name, accepted = self.sent[choice % len(self.sent)]
        rows = list(Message.objects.order_by("pk").values())
        if how == "send":
            repeated = accept(self.session, name, client_id=name)
        elif how == "edit":
            repeated = edit_message(user=self.session.user, message_id=message_id, text=name, client_id=name)
        else:
            repeated = regenerate(user=self.session.user, session_id=self.session.id, client_id=name)
        assert repeated.repeated
        assert repeated.message == accepted.message
        assert list(Message.objects.order_by("pk").values()) == rows

    @rule(choice=CHOICE)
    def look_back(self, choice: int) -> None:
        rows = list(self.session.messages.filter(seq__isnull=False).order_by("seq"))
        if not rows:
            return
        message = rows[choice % len(rows)]
        try:
            show_branch(user=self.session.user, session_id=self.session.id, message_id=message.id)
        except Conflict:
            assert self.live() is not None
            return
        assert message.text in self.shown()
        session = fresh(self.session)
        assert self.shown() == self.ends.get(session.head, self.shown())  # type: ignore[arg-type]
        again = show_branch(user=session.user, session_id=session.id, message_id=message.id)
        assert again.revision == session.revision

    @rule()
    def stop(self) -> None:
        request_stop(user=self.session.user, session_id=self.session.id, turn_id=None, reason="stopped")

    @rule()
    def deliver(self) -> None:
        with suppress(Conflict):
            _ = deliver_queued(user=self.session.user, session_id=self.session.id)

    # --- a worker ---------------------------------------------------------------------------

    @rule()
    def claim(self) -> None:
        claim = claim_next(uuid.uuid4())
        if claim is not None:
            self.holder = Holder(claim)
            state = load(claim.turn_id)
            texts = [message.parts[0].text for message in state.messages]  # type: ignore[union-attr]
            # Joined: what an answer says in two steps is two messages to a model.
            assert "".join(texts) == "".join(self.shown()), "the model reads what is shown"
            assert state.asked_from < len(texts)
            assert state.messages[-1].role == "user"

    @rule(speak=st.booleans())
    def step_and_deliver(self, speak: bool) -> None:
        """A step, and into the turn goes what was sent meanwhile."""
        if self.holder is None or self.holder.turn.stop_requested_at is not None:
            return
        before, waiting = self.shown(), [message.text for message in selectors.queued_of(self.session)]
        self.holder.begin()
        if speak:
            self.holder.say(f"answer {self.new_name()}")
        self.holder.step()
        if self.holder.deliver() is not None:
            after = self.shown()
            assert after[: len(before)] == before
            assert after[-len(waiting) :] == waiting

    @rule(how=st.sampled_from(["answer", "fail", "say nothing and fail", "only text"]))
    def work(self, how: str) -> None:
        if self.holder is None:
            return
        if how == "say nothing and fail":
            self.holder.finish(failed("auth", "No."))
        else:
            self.holder.begin()
            self.holder.say(f"answer {self.new_name()}")
            if how == "only text":
                request_stop(user=self.session.user, session_id=self.session.id, turn_id=None, reason="stopped")
            self.holder.finish(failed("auth", "No.") if how == "fail" else None)
        self.holder = None

    # --- what must hold ---------------------------------------------------------------------

    @invariant()
    def one_branch_is_shown(self) -> None:
        session = fresh(self.session)
        placed = list(session.messages.filter(seq__isnull=False).order_by("seq"))
        chain = [message for message in placed if message.shown]
        assert [message.parent for message in chain] == [session.pk, *[message.pk for message in chain]][
            : len(chain)
        ]
        assert session.head == (chain[-1].pk if chain else None)
        places = {message.pk: message.seq for message in placed}
        for message in placed:
            assert message.parent == session.pk or places[message.parent] < message.seq  # type: ignore[index, operator]
        if session.head is not None:
            self.ends[session.head] = self.shown()

    @invariant()
    def nothing_waits_in_an_idle_session_but_what_is_held(self) -> None:
        if self.live() is None:
            assert not self.session.messages.queued().filter(held=False).exists()

    @rule()
    def look_at_everything(self) -> None:
        assert invariants.check() == []


@pytest.mark.django_db
@pytest.mark.timeout(600)
def test_whatever_is_rewritten_one_branch_is_shown() -> None:
    run_state_machine_as_test(Conversations, settings=EXAMPLES)
