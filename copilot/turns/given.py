"""One question with all that came before it: a temporary session made for it, in which nobody can be asked."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from common.db import transact
from common.errors import TooLarge, invalid
from common.usertext import check_user_text
from copilot.events.log import from_outside
from copilot.models import Message, Session
from copilot.models.message import GIVEN
from copilot.turns.begin import do_next_number, do_place
from copilot.turns.rate import do_count_send
from copilot.turns.sessions import create_session
from copilot.turns.submit import Accepted, check_message, digest_of, do_accept, do_lock_session

#: Messages that may come before the question, and characters of one of them.
EARLIER_MAX = 2000
CHARACTERS_MAX = 400_000


@dataclass(frozen=True, slots=True)
class Said:
    """A message that was said elsewhere."""

    role: Literal["user", "assistant"]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked, and how.

    Attributes:
        earlier: what was said before, oldest first.
        instructions: for the agent, as those of a session.
        tools: globs over tool names; None offers every tool.
        max_output_tokens: of each call of the model; 0: as many as the operator allows.
    """

    text: str
    earlier: Sequence[Said] = ()
    instructions: str = ""
    model: str = ""
    effort: str = ""
    tools: Sequence[str] | None = None
    max_output_tokens: int = 0


def ask_once(*, user: Any, question: Question, key: str | None = None, origin: str = "key") -> Accepted:
    """Begin a turn that answers a question in a temporary session of its own, exactly once per ``key``.

    Its tools run by policy; what would need a person is refused. What was remembered does not count.

    Args:
        key: whoever sends the same question with the same key again gets the first turn back.

    Raises:
        Invalid: empty or refused texts (``refused_text``), too many messages, ``unknown_model``.
        TooLarge: the question or an earlier message is too long.
        Conflict: ``client_id_reused``: the key was used for another question.
        RateLimited: the person sent too much lately; a repetition is not counted.
    """
    # Names of other calls must not meet this one, and it may be longer than what is stored.
    client_id = f"once:{hashlib.sha256(key.encode()).hexdigest()}" if key is not None else None
    options = {"model": question.model, "effort": question.effort, "timezone": "", "context": {}}
    text = check_message(question.text, client_id, options, Message.Delivery.NEXT)
    return _ask(
        user=user,
        question=question,
        text=text,
        earlier=_checked(question.earlier),
        client_id=client_id,
        origin=origin,
        digest=digest_of(asdict(question)),
    )


def _checked(earlier: Sequence[Said]) -> list[Said]:
    """Return what was said before as it is stored; what says nothing is left out."""
    if len(earlier) > EARLIER_MAX:
        raise invalid({"messages": f"at most {EARLIER_MAX:,} messages are accepted."})
    found = [
        Said(said.role, check_user_text(said.text, what="A message", most=CHARACTERS_MAX, too_long=TooLarge))
        for said in earlier
    ]
    return [said for said in found if said.text.strip()]


@from_outside
@transact
def _ask(
    *,
    user: Any,
    question: Question,
    text: str,
    earlier: Sequence[Said],
    client_id: str | None,
    origin: str,
    digest: str,
) -> Accepted:
    made = create_session(
        user=user,
        model=question.model,
        instructions=question.instructions,
        tools=question.tools,
        temporary=True,
        client_id=client_id,
    )
    session = do_lock_session(user, made.pk)
    if not session.accepted:  # somebody with the same key may have been first
        _do_give(session, earlier)
    wishes = {"effort": question.effort, "max_output_tokens": question.max_output_tokens, "unattended": True}
    accepted = do_accept(
        session,
        text=text,
        client_id=client_id,
        options={name: value for name, value in wishes.items() if value},
        digest=digest,
        delivery=Message.Delivery.NEXT,
        origin=origin,
    )
    if not accepted.repeated:
        do_count_send(user.pk, origin)  # the last statement: all sessions of a person share that row
    return accepted


def _do_give(session: Session, earlier: Sequence[Said]) -> None:
    """Put what was said before into an empty session. The caller holds its lock, and touches it afterwards."""
    messages = []
    for said in earlier:
        message = Message(
            session=session,
            role=said.role,
            state=Message.State.DONE,
            origin=GIVEN,
            number=do_next_number(session),
            parts=_parts(said),
        )
        do_place(session, message)
        messages.append(message)
    Message.objects.bulk_create(messages)


def _parts(said: Said) -> list[dict[str, Any]]:
    text: dict[str, Any] = {"type": "text", "text": said.text}
    return [text] if said.role == "user" else [{"type": "step-start"}, {**text, "state": "done"}]
