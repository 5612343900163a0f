"""May this tool call run, must a person be asked, or is it refused: the answer, and nothing but the answer.

A policy is made of layers. The operator's may do everything; every other layer only tightens, so what it allows
does not count. It is resolved once, when a message is accepted, and stored on the turn: a turn that waited a day
for a person is judged as it was on the first. Two things are newer than that: what the operator denies is read
again right before a call runs (``operator_denies``), and what a person wants remembered while deciding about the
turn applies to its later calls (``with_rule``).

Everything here is pure but for the operator's settings, which are only read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any, Literal, Self

from django.conf import settings

Outcome = Literal["run", "ask", "refuse"]

DEFAULT, BYPASS, DONT_ASK = "default", "bypass", "dont_ask"
MODES = (DEFAULT, BYPASS, DONT_ASK)

#: With these a text that begins harmlessly goes on to do something else: another command, a redirection, a
#: command inside a command, another line, or a path that leads out of the folder that it begins with.
_GOES_ON = re.compile(r"[;|&`<>\x00\n\r\v\f\x1c-\x1e\x85\u2028\u2029]|\$\(|(?<![.\w])\.\.(?![.\w])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """What one authority says about tools: globs, matched case-sensitively on the full name of a tool.

    Attributes:
        name: Whose word it is, as it completes "The … denies this tool".
        allow: Run without asking. Counts in the operator's layer only: the others tighten.
    """

    name: str
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    ask: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return the layer as JSON has it, without what is empty."""
        lists = {"allow": self.allow, "deny": self.deny, "ask": self.ask}
        return {"name": self.name, **{key: list(globs) for key, globs in lists.items() if globs}}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Return the layer that ``as_json`` gave."""
        lists = {key: tuple(value.get(key, ())) for key in ("allow", "deny", "ask")}
        return cls(name=value.get("name", ""), **lists)


@dataclass(frozen=True, slots=True)
class Remembered:
    """A tool that a person allows without being asked, if the arguments match.

    ``pattern`` names arguments and a glob for each, in the order of the names; empty matches every call.
    """

    tool: str
    pattern: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, tool: str, pattern: Mapping[str, str] | None = None) -> Self:
        """Return the rule for a tool and the globs of its arguments."""
        return cls(tool, tuple(sorted((pattern or {}).items())))

    def covers(self, tool: str, arguments: object) -> bool:
        """Tell whether the rule speaks of this call."""
        return self.tool == tool and matches(dict(self.pattern), arguments)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a call.

    Attributes:
        reason: A sentence for the person who is asked, or for the model and the person when it is refused; empty
            when it runs.
        by: What decided: a layer and its list (``operator.deny``), ``rule``, ``enabled``, ``mode``, ``surface`` or
            ``tool``.
    """

    outcome: Outcome
    reason: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The resolved layers of one turn.

    Attributes:
        enabled: Off: nobody is ever asked; what is denied stays denied.
        mode: The operator's; nothing else sets it, so that nobody bypasses what the operator does not.
        can_ask: A person can be shown a question where the turn came from, and answer it.
        in_person: The person whose session it is wrote the turn. Only then do remembered rules count.
        reason: The operator's own words to who is asked; ``{tool}`` stands for the tool's name.
        tightening: Further layers, of tools, skills and parents; their ``ask`` counts like the operator's.
        session: What the person wants of this session.
        rules: What the person wants remembered.
    """

    enabled: bool = True
    mode: str = DEFAULT
    can_ask: bool = True
    in_person: bool = False
    reason: str = ""
    operator: Layer = field(default_factory=lambda: Layer(name="operator"))
    tightening: tuple[Layer, ...] = ()
    session: Layer = field(default_factory=lambda: Layer(name="session"))
    rules: tuple[Remembered, ...] = ()

    @property
    def asks_people(self) -> bool:
        """Whether anybody may and can be asked anything at all."""
        return self.enabled and self.can_ask and self.mode != DONT_ASK

    def judge(self, tool: str, arguments: object, *, asks: bool) -> Verdict:
        """Judge a call; the first that has something to say decides.

        Args:
            tool: the full name.
            arguments: as the call is to be run; only remembered rules look at them.
            asks: the tool's own default.
        """
        return self._for_whom_nobody_asks(self._judge(tool, arguments, asks=asks), tool)

    def _judge(self, tool: str, arguments: object, *, asks: bool) -> Verdict:
        for layer in (self.operator, *self.tightening, self.session):
            if glob := _match(tool, layer.deny):
                return Verdict("refuse", _denied(layer, tool, glob), f"{layer.name}.deny")
        if not self.enabled:
            return Verdict("run", "", "enabled")
        for layer in (self.operator, *self.tightening):
            if _match(tool, layer.ask):
                return self._ask(f"The {layer.name} wants {tool!r} to be approved.", tool, f"{layer.name}.ask")
        if self.mode == BYPASS:
            return Verdict("run", "", "mode")
        if self.in_person and any(rule.covers(tool, arguments) for rule in self.rules):
            return Verdict("run", "", "rule")
        if _match(tool, self.operator.allow):
            return Verdict("run", "", "operator.allow")
        if _match(tool, self.session.ask):
            return self._ask("This session asks before it uses tools.", tool, "session.ask")
        if asks:
            return self._ask(f"{tool!r} asks before it runs.", tool, "tool")
        return Verdict("run", "", "tool")

    def _ask(self, reason: str, tool: str, by: str) -> Verdict:
        # Not as a format string: the words of a setting reach nothing but the name.
        return Verdict("ask", self.reason.replace("{tool}", tool) or reason, by)

    def _for_whom_nobody_asks(self, verdict: Verdict, tool: str) -> Verdict:
        """Return the verdict, or the refusal that it becomes where nobody may or can be asked."""
        if verdict.outcome != "ask":
            return verdict
        if self.mode == DONT_ASK:
            return Verdict("refuse", _nobody(tool, "the operator of this server lets nobody be asked"), "mode")
        if not self.can_ask:
            return Verdict("refuse", _nobody(tool, "nobody can be asked where this turn came from"), "surface")
        return verdict

    def with_rule(self, tool: str, pattern: Mapping[str, str] | None = None) -> Policy:
        """Return the policy with a rule that a decision on this turn asked to remember.

        A turn that somebody else wrote stays as it is: no rule of the owner counts for it, this one included.
        """
        rule = Remembered.of(tool, pattern)
        if not self.in_person or rule in self.rules:
            return self
        return replace(self, rules=(*self.rules, rule))

    def within(self, bound: Policy) -> Policy:
        """Return what allows no more than either: for a turn that another one asked for.

        A rule counts if both have it. What the operator allows has to stand in both, word for word.
        """
        both = {name: getattr(self, name) and getattr(bound, name) for name in ("can_ask", "in_person")}
        return replace(
            self,
            **both,
            enabled=self.enabled or bound.enabled,
            mode=max(self.mode, bound.mode, key=_STRICTNESS.index),
            reason=self.reason or bound.reason,
            operator=replace(
                _joined(self.operator, bound.operator),
                allow=tuple(glob for glob in self.operator.allow if glob in bound.operator.allow),
            ),
            tightening=tuple(dict.fromkeys((*bound.tightening, *self.tightening))),
            session=_joined(self.session, bound.session),
            rules=tuple(rule for rule in self.rules if rule in bound.rules),
        )

    # --- as it is stored on a turn -----------------------------------------------------------

    def as_json(self) -> dict[str, Any]:
        """Return the policy as JSON has it, without what is as in ``Policy()``."""
        plain = {name: getattr(self, name) for name in _PLAIN}
        value: dict[str, Any] = {name: said for name, said in plain.items() if said != getattr(_EMPTY, name)}
        if self.operator != _EMPTY.operator:
            value["operator"] = self.operator.as_json()
        if self.session != _EMPTY.session:
            value["session"] = self.session.as_json()
        if self.tightening:
            value["tightening"] = [layer.as_json() for layer in self.tightening]
        if self.rules:
            value["rules"] = [
                [rule.tool, dict(rule.pattern)] if rule.pattern else [rule.tool] for rule in self.rules
            ]
        return value

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Policy:
        """Return the policy that ``as_json`` gave; what a newer version added is passed over."""
        known: dict[str, Any] = {name: value[name] for name in _PLAIN if name in value}
        for name in ("operator", "session"):
            if name in value:
                known[name] = Layer.from_json(value[name])
        return cls(
            **known,
            tightening=tuple(map(Layer.from_json, value.get("tightening", ()))),
            rules=tuple(Remembered.of(*rule[:2]) for rule in value.get("rules", ())),
        )


def _joined(one: Layer, other: Layer) -> Layer:
    """Return a layer that denies and asks about what either does."""
    deny, ask = dict.fromkeys(one.deny + other.deny), dict.fromkeys(one.ask + other.ask)
    return replace(one, deny=tuple(deny), ask=tuple(ask))


#: The modes, from what lets most things run to what lets fewest.
_STRICTNESS = (BYPASS, DEFAULT, DONT_ASK)
_PLAIN = ("enabled", "mode", "can_ask", "in_person", "reason")
_EMPTY = Policy()


# --- globs ----------------------------------------------------------------------------------------


def matches(pattern: Mapping[str, str], arguments: object) -> bool:
    """Tell whether every argument that ``pattern`` names is a string that its glob matches.

    A glob tells how a text begins or ends, and a person who allows ``git *`` means one command. So a text that
    can go on to something else (a line break, one of ``; | & ` < >``, ``$(``, or ``..`` as a step of a path) is
    matched by nothing but itself: ``git status; rm -rf /`` only by exactly that.
    """
    if not isinstance(arguments, Mapping):
        return not pattern
    return all(_matches_text(glob, arguments.get(name)) for name, glob in pattern.items())


def _matches_text(glob: str, text: object) -> bool:
    if not isinstance(text, str):
        return False
    return text == glob or (not _GOES_ON.search(text) and fnmatchcase(text, glob))


def _match(tool: str, globs: Iterable[str]) -> str | None:
    """Return the first of the globs that matches."""
    return next((glob for glob in globs if fnmatchcase(tool, glob)), None)


# --- the operator ---------------------------------------------------------------------------------


def operator_layer() -> Layer:
    """Return what the operator's settings say now."""
    return Layer(
        name="operator",
        allow=tuple(settings.APPROVALS_ALLOW),
        deny=tuple(settings.APPROVALS_DENY),
        ask=tuple(settings.APPROVALS_ASK),
    )


def operator_denies(tool: str) -> str | None:
    """Return why the operator denies a tool now, whatever a stored policy says; None when it may run."""
    layer = operator_layer()
    glob = _match(tool, layer.deny)
    return _denied(layer, tool, glob) if glob is not None else None


# --- words ----------------------------------------------------------------------------------------


def _denied(layer: Layer, tool: str, glob: str) -> str:
    named = f"APPROVALS_DENY: {glob}" if layer.name == "operator" else f"it denies {glob}"
    return (
        f"The {layer.name} does not allow {tool!r} here ({named}). It did not run. "
        "Go on without it, and say what could not be done."
    )


def _nobody(tool: str, why: str) -> str:
    return (
        f"{tool!r} needs a person's approval, and {why}. It did not run. Go on without it, and say what could not "
        "be done; an operator can allow it in APPROVALS_ALLOW."
    )
