"""Everything breaks while people work: no turn and no message is lost, doubled or stuck.

``FAULT_SEED`` repeats the plan of an earlier run. The long run is a part of the benchmark.
"""

from __future__ import annotations

import logging
import os
import random
from pathlib import Path

import pytest

from tests.process.faultrun.run import SMALL, fault_run

pytestmark = pytest.mark.process
logger = logging.getLogger(__name__)

SEED = int(os.environ.get("FAULT_SEED") or random.SystemRandom().randrange(2**32))


@pytest.mark.parametrize("kind", ["embedded", pytest.param("scaled", marks=pytest.mark.scaled)])
async def test_every_promise_is_kept_whatever_breaks(data_dir: Path, kind: str) -> None:
    report = await fault_run(kind, data_dir, SMALL, SEED)
    logger.info(report.text())
    assert report.wrong == [], report.text()
    assert sum(report.turns.values()) >= SMALL.turns, report.text()
    assert report.seconds < 90, report.text()
