"""What people want remembered, and the policy of a turn, which is made of it and of what the settings say."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from django.conf import settings
from django.db.models import QuerySet

from approvals.models import Action, AuditEntry, Rule
from approvals.policy import Layer, Policy, Remembered, matches, operator_layer
from common.db import transact
from common.errors import Invalid, NotFound, invalid
from common.ids import as_uuid
from common.prepared import prepared
from common.text import storable

#: Where a turn may come from for somebody to be shown a question and to answer it.
ANSWERING = frozenset({"web", "key", "bot", "child"})
ASK_ALL = "ask_all"
SESSION, ALWAYS = "session", "always"

#: Rules that count in one session: every turn there carries all of them.
RULES_MAX = 200
#: Arguments that one pattern may name, and characters of a name or a glob.
PATTERN_MAX = 10
GLOB_MAX = 1000


# --- the policy of a turn --------------------------------------------------------------------------


def resolve_policy(
    *,
    user_id: object,
    session_id: object,
    approval_mode: str,
    origin: str,
    in_person: bool,
    temporary: bool,
    tightening: Iterable[Layer] = (),
) -> Policy:
    """Return the policy of a turn that is accepted now. One query at most.

    Args:
        approval_mode: what the session says.
        origin: where the turn comes from.
        in_person: the owner of the session wrote what the turn answers.
        temporary: the session is; nothing that was remembered counts in it.
        tightening: what others say who may only tighten: parents, skills, saved agents.
    """
    remembers = in_person and not temporary and settings.APPROVALS_ENABLED
    return Policy(
        enabled=settings.APPROVALS_ENABLED,
        mode=settings.APPROVALS_MODE,
        can_ask=origin in ANSWERING,
        in_person=in_person,
        reason=settings.APPROVALS_REASON,
        operator=operator_layer(),
        tightening=tuple(tightening),
        session=Layer(name="session", ask=("*",) if approval_mode == ASK_ALL else ()),
        rules=rules_for(user_id, session_id) if remembers else (),
    )


def rules_for(user_id: object, session_id: object) -> tuple[Remembered, ...]:
    """Return what a person wants remembered in one of their sessions, oldest first. One query."""
    return tuple(Remembered.of(tool, pattern) for tool, pattern in _rules_for(user_id, session_id))


@prepared
def _rules_for(user_id: Any, session_id: Any) -> QuerySet[Rule, Any]:
    return Rule.objects.for_session(user_id, session_id).order_by("id").values_list("tool", "pattern")


# --- remembering and forgetting --------------------------------------------------------------------


@transact
def remember(
    *,
    user: Any,
    session_id: uuid.UUID,
    scope: str,
    tool: str,
    arguments: object,
    pattern: Mapping[str, str] | None = None,
    surface: str,
    action_id: uuid.UUID | None = None,
    turn_id: uuid.UUID | None = None,
    tool_call_id: uuid.UUID | None = None,
) -> Rule:
    """Remember that ``user`` allows calls like one that they approve; the same wish again changes nothing.

    Args:
        scope: ``session`` or ``always``.
        arguments: those of the approved call.
        pattern: a glob for each argument that is to matter; nothing: every call of the tool.
        surface: where the person said so, for the audit log; so are the ids that follow.

    Raises:
        Invalid: the pattern is malformed or does not match the call; too many rules.
    """
    if scope not in (SESSION, ALWAYS):
        raise ValueError(f"nothing is remembered for {scope!r}")
    checked = _checked_pattern(pattern or {}, arguments)
    where = session_id if scope == SESSION else None
    digest = _digest(tool, checked)
    found = Rule.objects.visible_to(user).filter(session=where, digest=digest).first()
    if found is not None:
        return found
    if Rule.objects.for_session(user, session_id).count() >= RULES_MAX:
        raise Invalid(f"{RULES_MAX} rules are remembered already. Revoke one that you do not need any more.")
    # Two at once: the later one gets the rule of the earlier.
    rule, new = Rule.objects.get_or_create(
        user=user, session=where, digest=digest, defaults={"tool": tool, "pattern": checked}
    )
    if new:
        ids = {"action": action_id, "turn": turn_id, "tool_call": tool_call_id}
        _note(AuditEntry.Event.RULE_ADDED, rule, user, surface, session=session_id, **ids)
    return rule


@transact
def revoke(*, user: Any, rule_id: object, surface: str) -> None:
    """Forget one rule of ``user``. Turns that were accepted before keep it.

    Raises:
        NotFound: unknown, somebody else's, or revoked before.
    """
    known = as_uuid(rule_id)
    rule = Rule.objects.visible_to(user).filter(pk=known).first() if known else None
    if rule is None or not Rule.objects.filter(pk=rule.pk).delete()[0]:
        raise NotFound
    _note(AuditEntry.Event.RULE_REVOKED, rule, user, surface, session=rule.session)


@transact
def forget_session(session_id: uuid.UUID) -> None:
    """Remove what was asked and what is remembered in a session that is deleted. The audit log stays."""
    Rule.objects.filter(session=session_id).delete()
    Action.objects.filter(session=session_id).delete()


def _note(event: AuditEntry.Event, rule: Rule, user: Any, surface: str, **ids: uuid.UUID | None) -> None:
    """Write the audit entry about a rule; its pattern is what the arguments of calls may be."""
    AuditEntry.objects.create(
        event=event,
        user=user,
        actor=user.get_username(),
        surface=surface,
        tool=rule.tool,
        scope=SESSION if rule.session else ALWAYS,
        final=rule.pattern,
        **ids,
    )


def _checked_pattern(pattern: Mapping[Any, Any], arguments: object) -> dict[str, str]:
    """Return the pattern as it is stored.

    Raises:
        Invalid: it is something else than a few short globs by name, or does not match the arguments.
    """
    if len(pattern) > PATTERN_MAX:
        raise invalid({"pattern": f"names more than {PATTERN_MAX} arguments."})
    checked = {}
    for name, glob in sorted(pattern.items()):
        if not isinstance(name, str) or not isinstance(glob, str):
            raise invalid({"pattern": "must hold a glob, as a string, for each argument."})
        if max(len(name), len(glob)) > GLOB_MAX:
            raise invalid({"pattern": f"a name or a glob has more than {GLOB_MAX:,} characters."})
        if (storable(name), storable(glob)) != (name, glob):
            raise invalid({"pattern": "a name or a glob holds characters that cannot be stored."})
        if not matches({name: glob}, arguments):
            raise invalid({"pattern": f"{glob!r} does not match {name!r} of the call that is approved. {_WHY}"})
        checked[name] = glob
    return checked


_WHY = (
    "Only texts can be matched, and one with a line break, ; | & ` < > $( or a step .. of a path only by exactly "
    "the same text."
)


def _digest(tool: str, pattern: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps([tool, pattern], sort_keys=True).encode()).hexdigest()
