"""A message sent within 50 ms of a turn's end is delivered exactly once, in typing order.

``CLOSE_ROUNDS=500`` makes a long run of it; that one is a part of the benchmark too.
"""

from __future__ import annotations

import logging
import os
import random
from pathlib import Path

import pytest

from tests.process.faultrun.rounds import close_rounds
from tests.process.servers import EmbeddedServer, ScaledStack, Stack

pytestmark = pytest.mark.process
logger = logging.getLogger(__name__)

ROUNDS = int(os.environ.get("CLOSE_ROUNDS", "30"))


@pytest.mark.timeout(120 + 2 * ROUNDS)
@pytest.mark.parametrize("kind", [EmbeddedServer, pytest.param(ScaledStack, marks=pytest.mark.scaled)])
async def test_a_message_at_the_end_of_a_turn_is_delivered_once_in_order(
    data_dir: Path, kind: type[Stack]
) -> None:
    seed = random.SystemRandom().randrange(2**32)
    with kind(data_dir, {"SEND_RATE": "1000000"}) as stack:
        result = await close_rounds(stack, stack.issue_key(), ROUNDS, seed=seed)
        stack.check_invariants()
    logger.info("seed %d: %s", seed, result)
    assert result.wrong == []
    assert result.counted >= ROUNDS, result
