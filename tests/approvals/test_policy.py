"""Which tool calls run, which are asked about and which are refused: every combination, and by name."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from approvals.policy import MODES, Layer, Policy, Remembered, matches, operator_denies

TOOL = "mcp:github:push"
CALL = {"branch": "main"}


@dataclass(frozen=True)
class Case:
    """One combination of everything that may have a say."""

    deny: str  # which layer denies; "" is none
    enabled: bool
    operator_asks: bool
    skill_asks: bool
    mode: str
    allowed: str  # "", "rule" or "allow"
    session_asks: bool
    asks: bool
    can_ask: bool

    def policy(self) -> Policy:
        denied = {self.deny: (TOOL,)}
        ask = {True: (TOOL,), False: ()}
        return Policy(
            enabled=self.enabled,
            mode=self.mode,
            can_ask=self.can_ask,
            in_person=True,
            operator=Layer(
                name="operator",
                allow=(TOOL,) if self.allowed == "allow" else (),
                deny=denied.get("operator", ()),
                ask=ask[self.operator_asks],
            ),
            tightening=(Layer(name="skill", deny=denied.get("skill", ()), ask=ask[self.skill_asks]),),
            session=Layer(name="session", deny=denied.get("session", ()), ask=ask[self.session_asks]),
            rules=(Remembered(TOOL),) if self.allowed == "rule" else (),
        )


def cases() -> Iterator[Case]:
    yes_or_no = (False, True)
    yield from itertools.starmap(
        Case,
        itertools.product(
            ("", "operator", "skill", "session"),
            yes_or_no,
            yes_or_no,
            yes_or_no,
            ("default", "bypass", "dont_ask"),
            ("", "rule", "allow"),
            yes_or_no,
            yes_or_no,
            yes_or_no,
        ),
    )


def first_match(case: Case) -> str:
    """The order, sentence by sentence."""
    sentences = [
        (case.deny != "", "refuse"),
        (not case.enabled, "run"),
        (case.operator_asks or case.skill_asks, "ask"),
        (case.mode == "bypass", "run"),
        (case.allowed != "", "run"),
        (case.session_asks, "ask"),
        (True, "ask" if case.asks else "run"),
    ]
    return next(outcome for applies, outcome in sentences if applies)


def expected(case: Case) -> str:
    """The order, and what is always last: nobody may be asked, or nobody can."""
    outcome = first_match(case)
    return "refuse" if outcome == "ask" and (case.mode == "dont_ask" or not case.can_ask) else outcome


def test_every_combination_is_judged_in_the_order_that_is_promised() -> None:
    judged = {case: case.policy().judge(TOOL, CALL, asks=case.asks).outcome for case in cases()}
    assert len(judged) == 4 * 2**3 * 3 * 3 * 2**3
    assert set(judged.values()) == {"run", "ask", "refuse"}
    assert {case: outcome for case, outcome in judged.items() if outcome != expected(case)} == {}


@pytest.mark.parametrize("first", [0, 1, 2, 4, 5])
def test_another_order_would_be_noticed(first: int) -> None:
    """The control: two neighbours of the order change places (bypass and what is allowed both let run)."""
    assert any(_swapped(case, first) != first_match(case) for case in cases())


def _swapped(case: Case, first: int) -> str:
    says = [
        "refuse" if case.deny else "",
        "" if case.enabled else "run",
        "ask" if case.operator_asks or case.skill_asks else "",
        "run" if case.mode == "bypass" else "",
        "run" if case.allowed else "",
        "ask" if case.session_asks else "",
        "ask" if case.asks else "run",
    ]
    says[first], says[first + 1] = says[first + 1], says[first]
    return next(said for said in says if said)


# --- by name ---------------------------------------------------------------------------------------

DENIES = Layer(name="operator", deny=("mcp:github:*",))
ASKS = Layer(name="operator", ask=("mcp:*",))
ALLOWS = Layer(name="operator", allow=("mcp:github:*",))
RULE = (Remembered(TOOL),)
ALL = Layer(name="session", ask=("*",))

NAMED: list[tuple[str, dict[str, Any], bool, str, str]] = [
    ("nothing is said of a tool that only reads", {}, False, "run", "tool"),
    ("nothing is said of a tool that acts", {}, True, "ask", "tool"),
    ("denied", {"operator": DENIES}, False, "refuse", "operator.deny"),
    ("denied, though allowed", {"operator": replace(DENIES, allow=("*",))}, False, "refuse", "operator.deny"),
    ("denied, though remembered", {"operator": DENIES, "rules": RULE}, True, "refuse", "operator.deny"),
    ("denied, also in bypass", {"operator": DENIES, "mode": "bypass"}, False, "refuse", "operator.deny"),
    (
        "denied, also when approvals are off",
        {"operator": DENIES, "enabled": False},
        False,
        "refuse",
        "operator.deny",
    ),
    ("denied by a skill", {"tightening": (Layer(name="skill", deny=("*",)),)}, False, "refuse", "skill.deny"),
    ("denied by the session", {"session": Layer(name="session", deny=("*",))}, False, "refuse", "session.deny"),
    ("approvals are off", {"enabled": False}, True, "run", "enabled"),
    ("approvals are off, though the operator asks", {"enabled": False, "operator": ASKS}, True, "run", "enabled"),
    ("approvals are off where nobody can be asked", {"enabled": False, "can_ask": False}, True, "run", "enabled"),
    ("approvals are off, mode dont_ask", {"enabled": False, "mode": "dont_ask"}, True, "run", "enabled"),
    ("the operator asks", {"operator": ASKS}, False, "ask", "operator.ask"),
    ("the operator asks, though in bypass", {"operator": ASKS, "mode": "bypass"}, False, "ask", "operator.ask"),
    ("the operator asks, though remembered", {"operator": ASKS, "rules": RULE}, True, "ask", "operator.ask"),
    (
        "the operator asks and allows",
        {"operator": replace(ASKS, allow=("mcp:github:push",))},
        False,
        "ask",
        "operator.ask",
    ),
    (
        "a skill asks, though the operator allows",
        {"operator": ALLOWS, "tightening": (Layer(name="skill", ask=("mcp:*",)),)},
        False,
        "ask",
        "skill.ask",
    ),
    ("bypass", {"mode": "bypass"}, True, "run", "mode"),
    ("bypass, though the session asks", {"mode": "bypass", "session": ALL}, True, "run", "mode"),
    ("remembered", {"rules": RULE}, True, "run", "rule"),
    ("remembered, though the session asks", {"rules": RULE, "session": ALL}, True, "run", "rule"),
    ("remembered, in a stranger's turn", {"rules": RULE, "in_person": False}, True, "ask", "tool"),
    ("another tool is remembered", {"rules": (Remembered("mcp:github:pull"),)}, True, "ask", "tool"),
    ("a rule is no glob", {"rules": (Remembered("mcp:github:*"),)}, True, "ask", "tool"),
    ("another call is remembered", {"rules": (Remembered.of(TOOL, {"branch": "x"}),)}, True, "ask", "tool"),
    ("this call is remembered", {"rules": (Remembered.of(TOOL, {"branch": "ma*"}),)}, True, "run", "rule"),
    ("allowed", {"operator": ALLOWS}, True, "run", "operator.allow"),
    ("allowed, though the session asks", {"operator": ALLOWS, "session": ALL}, True, "run", "operator.allow"),
    ("allowed in capitals", {"operator": Layer(name="operator", allow=("MCP:*",))}, True, "ask", "tool"),
    ("allowed by a skill", {"tightening": (Layer(name="skill", allow=("*",)),)}, True, "ask", "tool"),
    ("allowed by the session", {"session": Layer(name="session", allow=("*",))}, True, "ask", "tool"),
    ("the session asks about what only reads", {"session": ALL}, False, "ask", "session.ask"),
    ("nobody may be asked", {"mode": "dont_ask"}, True, "refuse", "mode"),
    ("nobody may be asked, nothing is", {"mode": "dont_ask"}, False, "run", "tool"),
    ("nobody may be asked, remembered", {"mode": "dont_ask", "rules": RULE}, True, "run", "rule"),
    ("nobody may be asked, the session asks", {"mode": "dont_ask", "session": ALL}, False, "refuse", "mode"),
    ("nobody can be asked", {"can_ask": False}, True, "refuse", "surface"),
    ("nobody can be asked, the operator asks", {"can_ask": False, "operator": ASKS}, False, "refuse", "surface"),
    ("nobody can be asked, allowed", {"can_ask": False, "operator": ALLOWS}, True, "run", "operator.allow"),
]


@pytest.mark.parametrize(
    ("over", "asks", "outcome", "by"), [row[1:] for row in NAMED], ids=[row[0] for row in NAMED]
)
def test_a_call_is_judged(over: dict[str, Any], asks: bool, outcome: str, by: str) -> None:
    policy = Policy(**{"in_person": True, **over})
    verdict = policy.judge(TOOL, CALL, asks=asks)
    assert (verdict.outcome, verdict.by) == (outcome, by)
    assert bool(verdict.reason) is (outcome != "run")
    # What a turn stores judges the same.
    assert Policy.from_json(json.loads(json.dumps(policy.as_json()))).judge(TOOL, CALL, asks=asks) == verdict


# --- what is said -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("over", "words"),
    [
        ({"operator": DENIES}, ("operator", "APPROVALS_DENY: mcp:github:*")),
        ({"tightening": (Layer(name="skill", deny=("*",)),)}, ("skill",)),
        ({"mode": "dont_ask"}, ("operator", "APPROVALS_ALLOW")),
        ({"can_ask": False}, ("nobody can be asked", "APPROVALS_ALLOW")),
    ],
)
def test_a_refusal_names_the_tool_who_refused_and_what_to_do(over: dict[str, Any], words: tuple[str, ...]) -> None:
    reason = Policy(**over).judge(TOOL, CALL, asks=True).reason
    assert all(word in reason for word in (TOOL, "did not run", "Go on without it", *words))


def test_who_is_asked_reads_the_operators_words() -> None:
    policy = Policy(reason="{tool} writes to {0.__class__} production.")
    assert policy.judge(TOOL, CALL, asks=True).reason == f"{TOOL} writes to {{0.__class__}} production."
    assert TOOL in Policy().judge(TOOL, CALL, asks=True).reason
    assert "APPROVALS_DENY" in replace(policy, operator=DENIES).judge(TOOL, CALL, asks=True).reason


def test_what_the_operator_denies_is_read_anew(settings: Any) -> None:
    settings.APPROVALS_DENY = []
    assert operator_denies(TOOL) is None
    settings.APPROVALS_DENY = ["shell", "mcp:*:push"]
    reason = operator_denies(TOOL)
    assert reason is not None
    assert "mcp:*:push" in reason
    assert operator_denies(TOOL.upper()) is None
    assert operator_denies("shell ") is None


# --- patterns ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "is_matched"),
    [
        ("git status", True),
        ("git diff main..topic", True),
        ("git log --format='%h $HOME'", True),
        ("Git status", False),
        ("gitx status", False),
        (" git status", False),
        ("git status; rm -rf /", False),
        ("git status && rm -rf /", False),
        ("git status & rm -rf /", False),
        ("git log | sh", False),
        ("git log > ~/.profile", False),
        ("git apply < patch", False),
        ("git log `rm -rf /`", False),
        ("git log $(rm -rf /)", False),
        ("git status\nrm -rf /", False),
        ("git status\r\nrm -rf /", False),
        ("git status\u2028rm -rf /", False),
        ("git status\n", False),
        ("git -C ../other status", False),
        ("git add docs/../secrets", False),
        (["git", "status"], False),
        (7, False),
        (None, False),
    ],
)
def test_a_glob_matches_one_command_and_nothing_behind_it(command: object, is_matched: bool) -> None:
    assert matches({"command": "git *"}, {"command": command}) is is_matched


@pytest.mark.parametrize("command", ["git status; rm -rf /", "ls [a-z]*", "cd .. && make\n", ""])
def test_a_text_is_matched_by_itself_whatever_it_holds(command: str) -> None:
    assert matches({"command": command}, {"command": command})
    assert not matches({"command": command}, {"command": f"{command}; true"})


@pytest.mark.parametrize("arguments", [{}, {"other": "x"}, [], ["x"], "x", None])
def test_an_argument_that_is_missing_matches_nothing(arguments: object) -> None:
    assert not matches({"command": "*"}, arguments)
    assert matches({}, arguments)


def test_every_argument_that_is_named_has_to_match() -> None:
    pattern = {"path": "notes/*", "mode": "append"}
    assert matches(pattern, {"path": "notes/a", "mode": "append", "text": "anything; at all"})
    assert not matches(pattern, {"path": "notes/a", "mode": "replace"})
    assert not matches(pattern, {"path": "notes/../a", "mode": "append"})
    assert not matches(pattern, {"path": "notes/a"})


# --- rules of a decision ----------------------------------------------------------------------------


def test_a_rule_that_a_decision_asks_for_counts_for_later_calls() -> None:
    before = Policy(in_person=True)
    after = before.with_rule(TOOL, {"branch": "main"})
    assert before.judge(TOOL, CALL, asks=True).outcome == "ask"
    assert after.judge(TOOL, CALL, asks=True).outcome == "run"
    assert after.judge(TOOL, {"branch": "next"}, asks=True).outcome == "ask"
    assert after.with_rule(TOOL, {"branch": "main"}) == after
    assert after.with_rule(TOOL).judge(TOOL, {}, asks=True).outcome == "run"


def test_no_rule_counts_in_a_turn_that_a_stranger_wrote() -> None:
    stranger = Policy(in_person=False)
    assert stranger.with_rule(TOOL) == stranger
    assert replace(stranger, rules=RULE).judge(TOOL, CALL, asks=True).outcome == "ask"


# --- properties -------------------------------------------------------------------------------------

_SEVERITY = ("run", "ask", "refuse")
names = st.sampled_from(["shell", "read_file", "mcp:github:push", "mcp:github:pull", "Shell"])
globs = st.lists(st.one_of(names, st.sampled_from(["*", "mcp:*", "mcp:*:push", "s*", "[!s]*", ""])), max_size=3)
texts = st.text(max_size=8)


def layers(name: str | None = None) -> st.SearchStrategy[Layer]:
    lists = globs.map(tuple)
    named = st.just(name) if name else st.sampled_from(["skill", "parent"])
    return st.builds(Layer, name=named, allow=lists, deny=lists, ask=lists)


rules = st.builds(Remembered.of, names, st.dictionaries(texts, texts, max_size=2))
policies = st.builds(
    Policy,
    enabled=st.booleans(),
    mode=st.sampled_from(MODES),
    can_ask=st.booleans(),
    in_person=st.booleans(),
    reason=texts,
    operator=layers("operator"),
    tightening=st.lists(layers(), max_size=2).map(tuple),
    session=layers("session"),
    rules=st.lists(rules, max_size=3).map(tuple),
)
arguments = st.one_of(st.none(), st.dictionaries(texts, texts, max_size=2))
quick = hypothesis_settings(deadline=None)


def severity(policy: Policy, tool: str, given_arguments: object, asks: bool) -> int:
    return _SEVERITY.index(policy.judge(tool, given_arguments, asks=asks).outcome)


@quick
@given(policies, layers(), names, arguments, st.booleans())
def test_a_further_layer_only_tightens(
    policy: Policy, layer: Layer, tool: str, called: object, asks: bool
) -> None:
    before = severity(policy, tool, called, asks)
    assert severity(replace(policy, tightening=(*policy.tightening, layer)), tool, called, asks) >= before


@quick
@given(policies, globs, globs, names, arguments, st.booleans())
def test_what_a_session_adds_only_tightens(
    policy: Policy, deny: list[str], ask: list[str], tool: str, called: object, asks: bool
) -> None:
    old = policy.session
    session = replace(old, allow=("*",), deny=(*old.deny, *deny), ask=(*old.ask, *ask))
    assert severity(replace(policy, session=session), tool, called, asks) >= severity(policy, tool, called, asks)


@quick
@given(policies, rules, names, arguments, st.booleans())
def test_a_rule_lets_nothing_run_that_the_operator_denies_or_asks_about(
    policy: Policy, rule: Remembered, tool: str, called: object, asks: bool
) -> None:
    more = policy.with_rule(rule.tool, dict(rule.pattern)).judge(tool, called, asks=asks)
    verdict = policy.judge(tool, called, asks=asks)
    assert verdict.by not in ("operator.deny", "operator.ask") or more == verdict
    assert more == verdict or more.by == "rule"


@quick
@given(policies, names, arguments, st.booleans())
def test_nobody_is_asked_who_may_not_or_cannot_be(policy: Policy, tool: str, called: object, asks: bool) -> None:
    outcome = policy.judge(tool, called, asks=asks).outcome
    assert outcome != "ask" or (policy.can_ask and policy.enabled and policy.mode != "dont_ask")


@quick
@given(policies)
def test_a_policy_comes_back_from_json_as_it_was(policy: Policy) -> None:
    assert Policy.from_json(json.loads(json.dumps(policy.as_json()))) == policy


@pytest.mark.parametrize("tool", ["SHELL", "ShelL"])
@pytest.mark.parametrize(
    "over",
    [
        {"operator": Layer(name="operator", deny=("shell",))},
        {"operator": Layer(name="operator", ask=("s*",))},
        {"operator": Layer(name="operator", allow=("shel[l]",))},
        {"tightening": (Layer(name="skill", deny=("*ll",)),)},
        {"session": Layer(name="session", ask=("shell",))},
        {"rules": (Remembered("shell"),)},
    ],
)
def test_names_are_matched_with_case(over: dict[str, Any], tool: str) -> None:
    said, unsaid = Policy(in_person=True, **over), Policy(in_person=True)

    def judged(policy: Policy, name: str) -> list[str]:
        return [policy.judge(name, {}, asks=asks).by for asks in (False, True)]

    assert judged(said, tool) == judged(unsaid, tool)
    assert judged(said, "shell") != judged(unsaid, "shell")


# --- as it is stored --------------------------------------------------------------------------------


def test_what_says_nothing_takes_no_room() -> None:
    assert Policy().as_json() == {}
    full = Policy(in_person=True, operator=ASKS, session=ALL, rules=(*RULE, Remembered.of(TOOL, {"branch": "x"})))
    assert full.as_json() == {
        "in_person": True,
        "operator": {"name": "operator", "ask": ["mcp:*"]},
        "session": {"name": "session", "ask": ["*"]},
        "rules": [[TOOL], [TOOL, {"branch": "x"}]],
    }


def test_what_a_newer_version_stored_is_passed_over() -> None:
    stored = {
        "in_person": True,
        "quorum": 2,
        "operator": {"name": "operator", "deny": ["x"], "audit": ["y"]},
        "rules": [[TOOL, {"branch": "main"}, {"until": "2031"}]],
    }
    known = Policy.from_json(stored)
    assert known.operator == Layer(name="operator", deny=("x",))
    assert known.rules == (Remembered.of(TOOL, {"branch": "main"}),)
