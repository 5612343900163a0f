"""What a person wants to happen to each call of an action, checked against what was asked."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from approvals.models import Action
from common.errors import AppError, Invalid
from common.redaction import UnknownPlaceholder, redact_json, redact_text, restore, words_of
from common.redaction_scan import PLACEHOLDER
from common.schemas import problem_of
from common.sealing import digest_of_arguments, unseal
from common.text import storable_json
from common.usertext import check_user_text

TYPES = ("approve", "edit", "reject", "respond")
SCOPES = ("once", "session", "always")
REASON_MAX = 2000
TEXT_MAX = 16_000
#: Bytes of edited arguments, as JSON.
ARGUMENTS_MAX = 64 * 1024

#: What may come with a decision of each type, beside the call's id.
_FIELDS = {
    "approve": {"pattern", "reason"},
    "edit": {"arguments", "reason"},
    "reject": {"reason"},
    "respond": {"text"},
}


@dataclass(frozen=True, slots=True)
class Wish:
    """A decision as it was submitted. Exactly one of ``decisions`` and ``answer`` is given."""

    decisions: Sequence[dict[str, Any]] | None = None
    answer: str | None = None
    scope: str = "once"

    def digest(self) -> str:
        """Return what tells a repetition from another decision."""
        decisions = sorted(self.decisions or (), key=lambda each: str(each.get("tool_call_id")))
        body = json.dumps([decisions, self.answer, self.scope], sort_keys=True)
        return hashlib.sha256(body.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True)
class CallDecision:
    """What becomes of one call.

    ``arguments`` are the exact ones of an edit, ``sha256`` the digest of those with which the call may run, and
    ``shown`` is what pages and the audit log get. ``text`` is the reason, response or answer, and ``said`` what is
    shown of it.
    """

    call_id: uuid.UUID
    tool: str
    type: str
    sha256: str
    text: str = ""
    arguments: dict[str, Any] | None = None
    shown: dict[str, Any] | None = None
    #: Globs by argument of the rule that is to be remembered.
    pattern: dict[str, str] = field(default_factory=dict)

    @property
    def said(self) -> str:
        """What the person wrote, without its secrets."""
        return redact_text(self.text)

    def as_json(self) -> dict[str, Any]:
        """Return it as it is stored and shown."""
        body: dict[str, Any] = {"tool_call_id": str(self.call_id), "type": self.type, "sha256": self.sha256}
        if self.shown is not None:
            body["arguments"] = self.shown
        if self.text:
            body["text" if self.type == "respond" else "reason"] = self.said
        return body


def check_wish(action: Action, wish: Wish) -> list[CallDecision]:
    """Return one decision for each call of ``action``, in the order of its requests.

    Raises:
        Invalid: ``incomplete`` (a call without a decision, with two, or an unknown one), ``not_allowed``,
            ``refused_text``, or ``invalid``. Nothing may be changed then.
        LookupError: what was asked cannot be read any more; so do TypeError, ValueError and SealBroken tell.
    """
    if not action.readable_requests:
        raise LookupError("nothing is asked that could be read")
    if wish.scope not in SCOPES:
        raise Invalid(f"scope must be one of {', '.join(SCOPES)}.", scope="invalid")
    if wish.scope not in action.scopes:
        raise Invalid(
            "This decision cannot be remembered here: decide it once.", code="not_allowed", scope="invalid"
        )
    if (wish.decisions is None) == (wish.answer is None):
        raise Invalid("Send either decisions, one for each call, or the answer to a question.")
    if action.kind == Action.Kind.QUESTION:
        return [_check_answer(action, wish)]
    if wish.decisions is None:
        raise Invalid("This asks about tool calls: send decisions, not an answer.", answer="invalid")
    by_call = _one_for_each(action, wish.decisions)
    hidden = _hidden(action)
    return [
        _check_decision(request, by_call[request["tool_call_id"]], hidden.get(request["tool_call_id"], {}))
        for request in action.requests
    ]


def _hidden(action: Action) -> dict[str, dict[str, Any]]:
    return unseal(action.sealed) if action.sealed else {}


def _check_answer(action: Action, wish: Wish) -> CallDecision:
    [request] = action.requests
    decision = {"tool_call_id": request["tool_call_id"], "type": "respond", "text": wish.answer}
    if wish.decisions is not None:
        decision = _one_for_each(action, wish.decisions)[request["tool_call_id"]]
    checked = _check_decision(request, decision, {})
    hidden = _hidden(action).get(request["tool_call_id"], {})
    # An option is shown without its secrets; who chooses it means what the agent wrote.
    return replace(checked, text=_put_back(checked.text, hidden))


def _put_back(text: str, hidden: dict[str, Any]) -> str:
    """Return ``text`` with the hidden values in it, unless they would be seen: alone they may look harmless."""
    used = {each for each in PLACEHOLDER.findall(text) if each in hidden}
    exact = PLACEHOLDER.sub(lambda found: words_of(hidden.get(found.group(), found.group())), text)
    seen = redact_text(exact)
    return text if any(words_of(hidden[each]) in seen for each in used) else exact


def _one_for_each(action: Action, decisions: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Join decisions and requests by the id of the call, never by position."""
    asked = [request["tool_call_id"] for request in action.requests]
    counts = Counter(str(decision.get("tool_call_id")) for decision in decisions)
    problems = {
        "missing": [call for call in asked if call not in counts],
        "unknown": [call[:100] for call in counts if call not in asked],
        "duplicate": [call for call, count in counts.items() if count > 1 and call in asked],
    }
    if found := {name: calls for name, calls in problems.items() if calls}:
        raise Invalid(f"Decide each of the {len(asked)} calls exactly once.", code="incomplete", **found)
    return {str(decision["tool_call_id"]): decision for decision in decisions}


def _check_decision(request: dict[str, Any], decision: dict[str, Any], hidden: dict[str, Any]) -> CallDecision:
    kind = decision.get("type")
    if kind not in TYPES:
        raise Invalid(f"type must be one of {', '.join(TYPES)}.", type="invalid")
    if kind not in request["allowed_decisions"]:
        allowed = ", ".join(request["allowed_decisions"])
        raise Invalid(f"{request['name']} cannot be decided by {kind!r}, only by: {allowed}.", code="not_allowed")
    given = {key for key, value in decision.items() if value is not None} - {"tool_call_id", "type"}
    if foreign := sorted(given - _FIELDS[kind]):
        raise Invalid(f"{foreign[0]} does not go with {kind!r}.", **{foreign[0]: "invalid"})
    call = CallDecision(
        uuid.UUID(request["tool_call_id"]), request["name"], kind, request["sha256"], text=_text_of(decision)
    )
    if kind == "edit":
        return _edited(call, request, decision.get("arguments"), hidden)
    if kind == "respond" and not call.text:
        raise Invalid("The answer is empty: write something first.", text="empty")
    if pattern := decision.get("pattern"):
        return replace(call, pattern=pattern)
    return call


def _text_of(decision: dict[str, Any]) -> str:
    return decision.get("text" if decision["type"] == "respond" else "reason") or ""


def cleaned(wish: Wish) -> Wish:
    """Return ``wish`` with its words as they are stored, blank ones left out.

    Before any lock is taken: whatever an operator has look at the words may take its time.

    Raises:
        Invalid: ``refused_text``.
    """
    answer = _clean(wish.answer, what="The answer", most=TEXT_MAX) if wish.answer is not None else None
    decisions = [_cleaned(decision) for decision in wish.decisions] if wish.decisions is not None else None
    return Wish(decisions=decisions, answer=answer, scope=wish.scope)


def _cleaned(decision: dict[str, Any]) -> dict[str, Any]:
    words = {
        "reason": _clean(decision.get("reason"), what="The reason", most=REASON_MAX),
        "text": _clean(decision.get("text"), what="The answer", most=TEXT_MAX),
    }
    if texts := _texts(decision.get("arguments")):
        _ = _clean("\n".join(texts), what="The edited arguments", most=ARGUMENTS_MAX)
    kept = {name: value for name, value in decision.items() if name not in words}
    return kept | {name: text for name, text in words.items() if text}


def _clean(text: str | None, *, what: str, most: int) -> str:
    return check_user_text(text, what=what, most=most).strip() if text else ""


def _edited(call: CallDecision, request: dict[str, Any], arguments: Any, hidden: dict[str, Any]) -> CallDecision:
    exact = check_arguments(arguments, request["schema"], hidden)
    return CallDecision(
        call.call_id,
        call.tool,
        call.type,
        digest_of_arguments(exact),
        text=call.text,
        arguments=exact,
        shown=_still_hidden(redact_json(exact).shown, arguments, hidden),
    )


def _still_hidden(shown: Any, sent: Any, hidden: dict[str, Any]) -> Any:
    """Return ``shown`` with what stood for a hidden value in ``sent`` back in its place.

    The words beside a secret may be what tells that it is one, and an edit may take them away.
    """
    if isinstance(sent, dict):
        pairs = zip(shown.items(), sent.items(), strict=True)
        return {
            _still_hidden(key, sent_key, hidden): _still_hidden(item, sent_item, hidden)
            for (key, item), (sent_key, sent_item) in pairs
        }
    if isinstance(sent, list):
        return [_still_hidden(*pair, hidden) for pair in zip(shown, sent, strict=True)]
    if isinstance(sent, str):
        if not isinstance(shown, str):
            return sent  # a hidden number, under another name by now
        for placeholder in PLACEHOLDER.findall(sent):
            shown = shown.replace(words_of(hidden[placeholder]), placeholder)
    return shown


def check_arguments(arguments: Any, schema: dict[str, Any], hidden: dict[str, Any]) -> dict[str, Any]:
    """Return edited arguments with the hidden values put back in place of what stood for them.

    Raises:
        Invalid: not an object, too large (``refused_text``), not what the tool's schema asks for; ``fields`` names
            the argument.
    """
    if not isinstance(arguments, dict):
        raise Invalid("The edited arguments must be a JSON object.", arguments="invalid")
    size = len(json.dumps(arguments, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    if size > ARGUMENTS_MAX:
        detail = f"The edited arguments take {size:,} bytes; at most {ARGUMENTS_MAX:,} are accepted."
        raise Invalid(detail, code="refused_text")
    if storable_json(arguments) != arguments:
        raise Invalid("The edited arguments hold characters that cannot be stored.", code="refused_text")
    try:
        exact = restore(arguments, hidden)
    except UnknownPlaceholder as error:
        raise Invalid(
            "A hidden value was changed: leave it as it is, or replace all of it.", arguments="invalid"
        ) from error
    if problem := problem_of(exact, schema, hides=bool(hidden)):
        where, message = problem
        raise _invalid(where or "arguments", redact_text(message))
    checked: dict[str, Any] = exact
    return checked


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for each in inner for text in _texts(each)]


def _invalid(where: str, message: str) -> AppError:
    error = Invalid(f"{where}: {message}"[:500])
    error.fields = {where: message[:500]}  # not as a keyword: the name comes from outside
    return error
