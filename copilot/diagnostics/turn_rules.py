"""What holds of every turn at every committed moment. Each rule yields a sentence for each way it is broken.

A rule that reads the log says nothing of turns whose events were pruned: only the terminal event is left of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from copilot.diagnostics.facts import TurnFacts
from copilot.events import schema
from copilot.events.fold import standing
from copilot.models import Message, ToolCall, Turn

Rule = Callable[[TurnFacts], Iterator[str]]

#: Seconds after which somebody should have stopped what a stopped turn asked for: the sweep looks each second.
LATE = 60.0
_TERMINAL_CHUNKS = {"completed": "finish", "failed": "error", "cancelled": "abort"}
#: Journal entries of transitions, each of which makes earlier holders stale.
_FENCED = {"claimed", "recovered", "handed_back", "paused", "decided", *_TERMINAL_CHUNKS}
#: How a call's row shows in the stream. A question waits like any other call; what was approved shows that until
#: there is something else to show.
_SHOWN_AS = {
    ToolCall.State.PENDING: {"input-available"},
    ToolCall.State.WAITING: {"approval-requested", "input-available"},
    ToolCall.State.APPROVED: {"approval-responded"},
    ToolCall.State.RUNNING: {"input-available", "approval-responded"},
    ToolCall.State.DONE: {"output-available"},
    ToolCall.State.DENIED: {"output-denied"},
    ToolCall.State.ERROR: {"output-error"},
    ToolCall.State.UNKNOWN: {"output-error"},
    ToolCall.State.CANCELLED: {"output-error"},
}


def log_is_dense(facts: TurnFacts) -> Iterator[str]:
    """Events are numbered from 1 without a gap; only the last one is left of a pruned turn, which has ended."""
    turn = facts.turn
    if turn.pruned:
        if turn.is_live:
            yield f"is {turn.status}, but its events were pruned"
        if (left := [seq for seq, _ in facts.events]) != [turn.last_seq]:
            yield f"was pruned, but {len(left)} events are left"
        return
    for expected, (seq, _) in enumerate(facts.events, 1):
        if seq != expected:
            yield f"event {expected} is missing; the log goes on with {seq}"
            return


def log_ends_once(facts: TurnFacts) -> Iterator[str]:
    """A turn that has ended has one terminal event, the last one, at ``last_seq``; a live turn has none."""
    turn, terminals = facts.turn, facts.terminals
    if turn.is_live:
        if terminals:
            yield f"is {turn.status}, but event {terminals[0][0]} is terminal"
        return
    if not terminals:
        yield f"is {turn.status}, but has no terminal event"
        return
    if len(terminals) > 1:
        yield f"has {len(terminals)} terminal events: {', '.join(str(seq) for seq, _ in terminals)}"
    seq, chunk = terminals[-1]
    if facts.events[-1][0] != seq:
        yield f"has events after the terminal one ({seq}), up to {facts.events[-1][0]}"
    if seq != turn.last_seq:
        yield f"last_seq is {turn.last_seq}, but the terminal event is {seq}"
    if chunk["type"] != _TERMINAL_CHUNKS[turn.status]:
        yield f"is {turn.status}, but its terminal event is {chunk['type']}"


def parts_begin_and_end(facts: TurnFacts) -> Iterator[str]:
    """Text and reasoning parts that stand have a start and an end, and nothing of the stream is inside another."""
    if facts.turn.pruned:
        return
    inside = ""
    for seq, chunk in standing(facts.events):
        kind, _, what = chunk["type"].rpartition("-")
        part = chunk.get("id", "")
        if kind in ("text", "reasoning") and what in ("start", "delta", "end"):
            if what == "start" and inside:
                yield f"event {seq} begins part {part} inside part {inside}"
            elif what != "start" and part != inside:
                yield f"event {seq} is a {chunk['type']} of part {part}, which is not open"
            inside = {"start": part, "delta": inside, "end": ""}[what]
        elif inside and not chunk["type"].startswith("data-"):
            yield f"event {seq} ({chunk['type']}) is inside part {inside}"
    if inside and facts.turn.is_terminal:
        yield f"part {inside} has no end"


def answers_are_what_was_streamed(facts: TurnFacts) -> Iterator[str]:
    """The stored parts of a finished turn's messages are what its events add up to."""
    if facts.turn.is_live or facts.turn.pruned:
        return
    stored = {str(message.pk): message for message in facts.answers}
    for message_id in {*stored, *facts.transcript.messages}:
        parts = facts.transcript.parts_of(message_id)
        said = any(part["type"] != "step-start" for part in parts)
        if message_id in stored:
            if stored[message_id].parts != (parts if said else []):
                yield f"the parts of message {message_id} are not what was streamed"
        elif said:
            yield f"message {message_id} was streamed, but is not stored"


def answer_is_open_while_live(facts: TurnFacts) -> Iterator[str]:
    """A live turn has one open message, a finished one has none."""
    found = sum(message.state == Message.State.OPEN for message in facts.answers)
    expected = int(facts.turn.is_live)
    if found != expected:
        yield f"is {facts.turn.status} and has {found} open messages instead of {expected}"


def ending_leaves_an_answer(facts: TurnFacts) -> Iterator[str]:
    """A completed turn's messages are done; a failed one leaves one too; only a stopped one may leave none."""
    turn = facts.turn
    states = [message.state for message in facts.answers]
    if turn.status in (Turn.Status.COMPLETED, Turn.Status.FAILED) and not states:
        yield f"is {turn.status}, but left no message"
    if turn.status == Turn.Status.COMPLETED and set(states) - {Message.State.DONE}:
        yield f"is completed, but its messages are {', '.join(states)}"
    # A stopped turn that said nothing to what was delivered last has only the answer before that, which is done.
    answered = not _delivered_behind_the_last_answer(facts)
    ended_early = turn.status == Turn.Status.FAILED or (turn.status == Turn.Status.CANCELLED and answered)
    if ended_early and states and states[-1] == Message.State.DONE:
        yield f"is {turn.status}, but its last message is done"


def _delivered_behind_the_last_answer(facts: TurnFacts) -> bool:
    last = max((answer.seq or 0 for answer in facts.answers), default=0)
    return any((question.seq or 0) > last and question.after_step is not None for question in facts.questions)


def calls_have_outcomes(facts: TurnFacts) -> Iterator[str]:
    """Every call of a finished turn has an outcome, and rows and events tell the same of every call."""
    rows = {str(call.pk): call for call in facts.calls}
    if facts.turn.is_terminal:
        for call_id, call in rows.items():
            if call.is_open:
                yield f"call {call_id} ({call.name}) is still {call.state}"
    if facts.turn.pruned:
        return
    shown = facts.shown_calls
    for call_id in rows.keys() - shown.keys():
        yield f"call {call_id} is stored, but was not streamed"
    for call_id in shown.keys() - rows.keys():
        yield f"call {call_id} was streamed, but is not stored"
    for call_id in rows.keys() & shown.keys():
        state, told = rows[call_id].state, shown[call_id]["state"]
        if told not in _SHOWN_AS[ToolCall.State(state)]:
            yield f"call {call_id} is {state}, but was streamed as {told}"


def steps_are_dense(facts: TurnFacts) -> Iterator[str]:
    """Committed steps are numbered from 1 to ``steps``, and every call belongs to one."""
    if facts.steps != list(range(1, facts.turn.steps + 1)):
        numbers = ", ".join(map(str, facts.steps)) or "none"
        yield f"steps is {facts.turn.steps}, but the committed ones are: {numbers}"
    for step in {call.step for call in facts.calls} - set(facts.steps):
        yield f"has calls of step {step}, which was not committed"


def usage_belongs_to_steps(facts: TurnFacts) -> Iterator[str]:
    """What was used is of a committed step or of the open one, under a fence that was, by the turn's user."""
    turn = facts.turn
    for fence, step, user_id in facts.usage:
        if not 1 <= step <= turn.steps + 1:
            yield f"has usage of step {step}, but {turn.steps} steps"
        if not 1 <= fence <= turn.fence:
            yield f"has usage under fence {fence}, but its fence is {turn.fence}"
        if user_id != turn.user_id:
            yield f"has usage of user {user_id}, but is of user {turn.user_id}"


def running_is_leased(facts: TurnFacts) -> Iterator[str]:
    """A running turn has a worker, a heartbeat and the times of its claims; another has no worker."""
    turn = facts.turn
    if turn.status != Turn.Status.RUNNING:
        if turn.worker or turn.heartbeat_at:
            yield f"is {turn.status}, but has a worker or a heartbeat"
        return
    needed = ("worker", "heartbeat_at", "claimed_at", "started_at")
    if missing := [name for name in needed if getattr(turn, name) is None]:
        yield f"is running without {', '.join(missing)}"


def fence_counts_transitions(facts: TurnFacts) -> Iterator[str]:
    """The fence has grown once for every transition that the journal tells of."""
    told = sum(kind in _FENCED for kind, _ in facts.journal)
    if told != facts.turn.fence:
        yield f"its fence is {facts.turn.fence}, but the journal tells of {told} transitions"


def journal_tells_the_end(facts: TurnFacts) -> Iterator[str]:
    """The journal's last entry is the end of a finished turn; that of a live one tells of none."""
    ends = [(kind, data.get("seq")) for kind, data in facts.journal if kind in _TERMINAL_CHUNKS]
    turn = facts.turn
    if turn.is_live:
        if ends:
            yield f"is {turn.status}, but the journal says {ends[0][0]}"
        return
    if ends != [(turn.status, turn.last_seq)] or facts.journal[-1][0] != turn.status:
        yield f"is {turn.status} at {turn.last_seq}, but the journal does not end with that"


def messages_are_delivered_once(facts: TurnFacts) -> Iterator[str]:
    """The messages that the journal says were delivered to the turn are those that belong to it, each once."""
    told = Counter(message for _, data in facts.journal for message in data.get("messages", ()))
    for message, times in told.items():
        if times > 1:
            yield f"message {message} was delivered {times} times"
    mine = {str(message.pk) for message in facts.questions}
    for message in told.keys() - mine:
        yield f"message {message} was delivered to it, but belongs elsewhere"
    for message in mine - told.keys():
        yield f"message {message} belongs to it, but was never delivered"


def sealed_is_in_the_log(facts: TurnFacts) -> Iterator[str]:
    """What is sealed has been written."""
    newest = facts.events[-1][0] if facts.events else 0
    if facts.turn.sealed_seq > newest:
        yield f"is sealed up to event {facts.turn.sealed_seq}, but the log ends at {newest}"


def only_completion_is_followed(facts: TurnFacts) -> Iterator[str]:
    """Only a completed turn passes waiting messages on, to a turn of the same session."""
    turn, following = facts.turn, facts.turn.next_turn
    if following is None:
        return
    if turn.status != Turn.Status.COMPLETED:
        yield f"is {turn.status}, but turn {following.pk} follows it"
    if following.session_id != turn.session_id:
        yield f"turn {following.pk} follows it in another session"


def children_end_with_their_parent(facts: TurnFacts) -> Iterator[str]:
    """A turn that another one asked for is in a child session of that one's, and is stopped with it."""
    turn, parent = facts.turn, facts.turn.parent
    if parent is None:
        if turn.owed:
            yield "its end is owed to a parent, but it has none"
        return
    if turn.session.parent_id != parent.session_id:
        yield f"has the parent {parent.pk}, which is in no parent of its session"
    ended = parent.finished_at if parent.status in (Turn.Status.FAILED, Turn.Status.CANCELLED) else None
    late = (facts.now - ended).total_seconds() if facts.now and ended else 0.0
    if turn.is_live and turn.stop_requested_at is None and late > LATE:
        yield f"is {turn.status}, but its parent {parent.pk} was {parent.status} {late:.0f} seconds ago"


def rollbacks_go_back(facts: TurnFacts) -> Iterator[str]:
    """A rollback names an event before itself."""
    for seq, chunk in facts.events:
        if chunk["type"] == "data-rollback" and not 0 <= chunk["data"]["to_seq"] < seq:
            yield f"event {seq} rolls back to {chunk['data']['to_seq']}"


def nothing_stored_is_transient(facts: TurnFacts) -> Iterator[str]:
    """Transient chunks are not in the log."""
    for seq, chunk in facts.events:
        if schema.is_transient(chunk):
            yield f"event {seq} ({chunk['type']}) is transient"


RULES: tuple[Rule, ...] = (
    log_is_dense,
    log_ends_once,
    parts_begin_and_end,
    answers_are_what_was_streamed,
    answer_is_open_while_live,
    ending_leaves_an_answer,
    calls_have_outcomes,
    steps_are_dense,
    usage_belongs_to_steps,
    running_is_leased,
    fence_counts_transitions,
    journal_tells_the_end,
    messages_are_delivered_once,
    sealed_is_in_the_log,
    only_completion_is_followed,
    children_end_with_their_parent,
    rollbacks_go_back,
    nothing_stored_is_transient,
)
