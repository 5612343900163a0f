"""How much of what a maintained set of examples calls a secret is hidden, and how much else.

The examples are not part of the repository: ``HOLDFAST_CORPUS`` says where they are. ``docs/redaction.md`` has the
figures that ``pytest -s`` prints here.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from common.redaction import redact_text

_ROOT = Path(__file__).resolve().parents[2]
_CORPUS = Path(os.environ.get("HOLDFAST_CORPUS") or _ROOT.parent / "shared" / "corpus")
EXAMPLES = _CORPUS / "redaction" / "gitleaks-examples.jsonl.gz"

if not EXAMPLES.is_file():
    pytest.skip("the examples of secrets are not here (HOLDFAST_CORPUS)", allow_module_level=True)

#: Rules about a place where any text is a secret.
_PLACES = ("curl-", "jwt", "private-key", "nuget", "freemius", "sidekiq-sensitive-url")
#: At least so much of each family is hidden.
FLOORS = {"a beginning of its own": 0.97, "the name of its service": 0.97, "its place": 0.85}
#: How many negatives may be hidden. Those that the examples' own pattern takes for a secret, until it looks at the
#: entropy or a list of published ones, are hidden rightly as far as they are no fillers.
MOST_HIDDEN = {"no secret by its form": 18, "let off by other means": 22}


def rules() -> list[dict[str, Any]]:
    with gzip.open(EXAMPLES, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def family(rule: dict[str, Any]) -> str:
    """Say what tells a secret of this rule."""
    if rule["rule"].startswith(_PLACES):
        return "its place"
    beside = "[\\w.-]{0,50}?" in rule["regex_re2"]
    return "the name of its service" if beside else "a beginning of its own"


def secret_in(text: str, rule: dict[str, Any]) -> re.Match[str] | None:
    """Find what the rule's own pattern takes for the secret; None where Python does not know the pattern."""
    whole = rule["regex_re2"].replace("\\z", "\\Z")
    pattern = whole.replace("(?i)", "")
    try:
        return re.search(pattern, text, 0 if pattern == whole else re.IGNORECASE)
    except re.error:
        return None


def left(text: str, rule: dict[str, Any]) -> bool:
    """Whether the middle or the end of the secret is still there after redaction."""
    shown, found = redact_text(text), secret_in(text, rule)
    if found is None:
        return shown == text
    group = rule["secretGroup"] or next((number for number, each in enumerate(found.groups(), 1) if each), 0)
    secret = found.group(group).partition("-----END")[0]
    middle = len(secret) // 2
    return secret[-12:] in shown or secret[max(0, middle - 6) : middle + 6] in shown


def positives() -> Iterator[tuple[str, str, bool]]:
    """Yield the family and the name of each example's rule, and whether it is hidden."""
    for rule in rules():
        for text in (*rule["tp"], *rule["generated"]):
            yield family(rule), rule["rule"], not left(text, rule)


def say(line: str) -> None:
    """Print a line of the figures; ``pytest -s`` shows it."""
    sys.stdout.write(f"\n{line}")


def test_secrets_are_hidden() -> None:
    total, hidden, missed = Counter[str](), Counter[str](), Counter[str]()
    for kind, name, gone in positives():
        total[kind] += 1
        hidden[kind] += gone
        missed[name] += not gone
    for kind in FLOORS:
        say(f"{kind:26} {hidden[kind]:4} of {total[kind]:4}  {hidden[kind] / total[kind]:.1%}")
    say(f"{'all':26} {hidden.total():4} of {total.total():4}  {hidden.total() / total.total():.1%}")
    say("missed: " + ", ".join(f"{name} {count}" for name, count in sorted(missed.items()) if count))
    assert {kind: hidden[kind] / total[kind] >= floor for kind, floor in FLOORS.items()} == dict.fromkeys(
        FLOORS, True
    )


def test_other_texts_are_left_alone() -> None:
    total, hidden = Counter[str](), Counter[str]()
    for rule in rules():
        for example in rule["fp"]:
            kind = "let off by other means" if example["regex_matches"] else "no secret by its form"
            total[kind] += 1
            hidden[kind] += redact_text(example["text"]) != example["text"]
    for kind, most in MOST_HIDDEN.items():
        say(f"{kind:26} {hidden[kind]:4} of {total[kind]:4} hidden, {most} may be")
    assert {kind: hidden[kind] <= most for kind, most in MOST_HIDDEN.items()} == dict.fromkeys(MOST_HIDDEN, True)
