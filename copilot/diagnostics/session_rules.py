"""What holds of every session at every committed moment. Each rule yields a sentence for each way it is broken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from operator import ge

from copilot.diagnostics.facts import Place, SessionFacts
from copilot.models import Message, Turn
from copilot.models.message import GIVEN
from copilot.usage.keeping import usage_end

Rule = Callable[[SessionFacts], Iterator[str]]


def places_are_dense(facts: SessionFacts) -> Iterator[str]:
    """Places run from 1 to ``next_seq - 1``; only a stopped turn that said nothing leaves its place empty."""
    by_seq = {message.seq: message for message in facts.placed}
    for seq in range(1, facts.session.next_seq):
        if seq not in by_seq and not _awaited_a_stopped_answer(by_seq.get(seq - 1)):
            yield f"no message has place {seq}"
    for place in by_seq:
        if not 1 <= (place or 0) < facts.session.next_seq:
            yield f"a message has place {place}, but the next one is {facts.session.next_seq}"


def _awaited_a_stopped_answer(before: Place | None) -> bool:
    return before is not None and before.turn_status == Turn.Status.CANCELLED


def numbers_tell_the_order(facts: SessionFacts) -> Iterator[str]:
    """Every message has a number of its own up to ``accepted``; what people typed stands in that order."""
    numbers = [message.number for message in facts.messages]
    if len(set(numbers)) != len(numbers):
        yield "two messages have the same number"
    if numbers and max(numbers) > facts.session.accepted:
        yield f"a message has number {max(numbers)}, but {facts.session.accepted} were accepted"
    for earlier, later in pairwise(place for place in facts.placed if place.role == Message.Role.USER):
        if earlier.number >= later.number:
            yield f"message {later.id} has a place after {earlier.id}, but came before it"


def delivered_messages_have_a_turn(facts: SessionFacts) -> Iterator[str]:
    """Every message that has a place belongs to a turn of its session, unless it was given along with one."""
    for message in facts.placed:
        if message.origin == GIVEN:
            if message.turn_id is not None:
                yield f"message {message.id} was given along, but belongs to turn {message.turn_id}"
        elif message.turn_id is None:
            yield f"message {message.id} has a place, but no turn"
        elif message.turn_session_id != facts.session.pk:
            yield f"message {message.id} belongs to turn {message.turn_id} of another session"


def branches_hang_together(facts: SessionFacts) -> Iterator[str]:
    """Every message that has a place follows one with an earlier place, or it is a first one."""
    places = {facts.session.pk: 0, **{message.id: message.seq or 0 for message in facts.placed}}
    last = max(places.values())
    for message in facts.placed:
        if message.parent is None:
            yield f"message {message.id} has a place, but follows nothing"
        elif not places.get(message.parent, last) < (message.seq or 0):
            yield f"message {message.id} follows {message.parent}, which has no place before it"


def one_branch_is_shown(facts: SessionFacts) -> Iterator[str]:
    """The shown messages are one chain from a first message to the head, in the order of their places."""
    before = facts.session.pk
    for message in facts.placed:
        if not message.shown:
            continue
        if message.parent != before:
            yield f"message {message.id} is shown after {before}, but follows {message.parent}"
        before = message.id
    if before != (facts.session.head or facts.session.pk):
        yield f"its head is {facts.session.head}, but the last shown message is {before}"


def nothing_waits_while_idle(facts: SessionFacts) -> Iterator[str]:
    """A session without a live turn has no queued message that is not held."""
    if facts.live:
        return
    for message in facts.messages:
        if message.state == Message.State.QUEUED and not message.held:
            yield f"message {message.id} waits, but nothing is live and it is not held"


def one_turn_is_live(facts: SessionFacts) -> Iterator[str]:
    """At most one turn of a session is live."""
    if facts.live > 1:
        yield f"{facts.live} turns are live"


def revision_is_positive(facts: SessionFacts) -> Iterator[str]:
    """The revision counts from 1."""
    if facts.session.revision < 1:
        yield f"its revision is {facts.session.revision}"


def children_are_bound(facts: SessionFacts) -> Iterator[str]:
    """A child session is its parent's person's, one level below it, and temporary if that is."""
    session, parent = facts.session, facts.session.parent
    if parent is None:
        return
    if session.depth != parent.depth + 1:
        yield f"is {session.depth} deep, but its parent {parent.pk} is {parent.depth}"
    if session.user_id != parent.user_id:
        yield f"is user {session.user_id}'s, but its parent {parent.pk} is user {parent.user_id}'s"
    if session.temporary != parent.temporary:
        yield f"is {'' if session.temporary else 'not '}temporary, unlike its parent {parent.pk}"


def totals_are_sums(facts: SessionFacts) -> Iterator[str]:
    """The session's totals are the sums over its usage records, those that are kept no longer included."""
    session = facts.session
    totals = (session.input_tokens, session.output_tokens, session.cost_microdollars)
    end = usage_end()
    outlived = end is not None and session.created_at < end
    holds = all(map(ge, totals, facts.used)) if outlived else totals == facts.used
    if not holds:
        yield f"its totals (input, output, cost) are {totals}, but its usage records add up to {facts.used}"


RULES: tuple[Rule, ...] = (
    places_are_dense,
    numbers_tell_the_order,
    delivered_messages_have_a_turn,
    branches_hang_together,
    one_branch_is_shown,
    nothing_waits_while_idle,
    one_turn_is_live,
    revision_is_positive,
    children_are_bound,
    totals_are_sums,
)
