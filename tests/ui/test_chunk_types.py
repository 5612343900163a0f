"""Every chunk of a response is one that the AI SDK's own schema knows, with no field beside those it names.

The table of the chunk types of ``ai`` 6 and 7 is not part of the repository: ``HOLDFAST_CORPUS`` says where it is.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from approvals.models import Action
from common.db import db
from tests.approvals.asking import People
from tests.harness import Crew
from tests.ui.conftest import Front, answering, responded

_ROOT = Path(__file__).resolve().parents[2]
_CORPUS = Path(os.environ.get("HOLDFAST_CORPUS") or _ROOT.parent / "shared" / "corpus")
TYPES = _CORPUS / "wire" / "ai-ui-message-stream" / "chunk-types.json"

if not TYPES.is_file():
    pytest.skip("the table of chunk types is not here (HOLDFAST_CORPUS)", allow_module_level=True)

pytestmark = pytest.mark.django_db(transaction=True)

TURNS = (
    '/think hmm\n/words 3\n/tool calculator {"expression": "1"}\n/tool demo_boom\n/results',
    '/tool demo_wait {"seconds": 0.1}\n/tool nothing\n/words 1',
    "/words 2\n/faillate overloaded 1\n/words 1",
    "/words 1\n/fail auth",
)


@pytest.fixture(scope="module")
def versions() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(TYPES.read_text())["versions"]
    return {version.partition(".")[0]: {row["type"]: row for row in rows} for version, rows in found.items()}


def problems(chunk: dict[str, Any], types: dict[str, Any]) -> list[str]:
    """Return what is wrong with a chunk."""
    kind = "data-${name}" if chunk["type"].startswith("data-") else chunk["type"]
    if kind not in types:
        return [f"{kind} is unknown"]
    needed, allowed = set(types[kind]["required"]), set(types[kind]["optional"])
    fields = chunk.keys() - {"type"}
    return [f"{kind}: lacks {name}" for name in needed - fields] + [
        f"{kind}: has {name}" for name in fields - needed - allowed
    ]


@pytest.mark.parametrize("sdk", ["6", "7"])
async def test_responses_speak_the_vocabulary(
    worker: Crew, people: People, front: Front, settings: Settings, versions: dict[str, Any], sdk: str
) -> None:
    settings.APPROVALS_ENABLED = True
    query = f"?sdk={sdk}"
    answers = [await front.say("c1", text, query=query) for text in TURNS]
    asked = await front.say("c1", '/tool demo_note {"text": "a"}\n/tool demo_note {"text": "b"}', query=query)
    one, two = asked.of("tool-approval-request")
    said = answering("c1", asked.message_id, responded(one, True), responded(two, False))
    answers += [asked, await front.call(said, query), await front.say("c1", "/ask Well?", query=query)]
    assert await db(Action.objects.count) == 2
    found = {
        problem for answer in answers for chunk in answer.chunks for problem in problems(chunk, versions[sdk])
    }
    assert found == set()


def test_what_is_wrong_is_noticed(versions: dict[str, Any]) -> None:
    types = versions["6"]
    assert problems({"type": "reset-step"}, types) == ["reset-step is unknown"]
    assert problems({"type": "text-delta", "id": "t"}, types) == ["text-delta: lacks delta"]
    assert problems({"type": "tool-output-denied", "toolCallId": "c", "reason": "no"}, types) == [
        "tool-output-denied: has reason"
    ]
