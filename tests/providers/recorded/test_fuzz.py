"""Recorded answers that are cut off and split at random places: no hang, no crash, no empty success."""

from __future__ import annotations

from typing import Any

import pytest

from copilot.providers.base import Stop, StreamPart
from copilot.providers.openai_fold import ChatFold
from tests.providers.recorded import fuzz
from tests.providers.recorded.recordings import CASES, params

SEED = fuzz.seed()
POINTS = 2


@pytest.mark.parametrize("case", params(list(CASES.values())))
async def test_a_broken_answer_is_an_error_and_never_half_a_success(case: dict[str, Any]) -> None:
    async for outcome in fuzz.outcomes(case, points=POINTS, seed=SEED):
        assert not outcome.problem, f"{outcome} (FUZZ_SEED={SEED})"


async def test_an_end_that_nobody_checks_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def unchecked(self: ChatFold) -> list[StreamPart]:
        return [Stop("stop")]

    monkeypatch.setattr(ChatFold, "finish", unchecked)
    case = CASES["openai-chat-tool-then-text-2"]
    found = [outcome async for outcome in fuzz.outcomes(case, points=10, seed=1)]
    assert any(outcome.problem for outcome in found)
