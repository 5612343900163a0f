"""What processes of their own tell of themselves: metrics from a worker that serves no pages, and its log."""

from __future__ import annotations

import asyncio
import json
import re
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.process.clients import Rest
from tests.process.servers import ScaledStack, free_port

pytestmark = [pytest.mark.process, pytest.mark.scaled]

ENDED = re.compile(r'^holdfast_turns_ended_total\{.*status="completed"\} (\S+)$', re.MULTILINE)


def read(url: str) -> str:
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
        return str(answer.read().decode())


def ended(text: str) -> float:
    """Return how many turns ended well in an exposition."""
    return sum(map(float, ENDED.findall(text)))


def objects(text: str) -> list[dict[str, Any]]:
    """Return the lines of a log that are JSON; Celery greets in its own way."""
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


async def test_a_worker_tells_what_it_did_and_processes_that_share_a_directory_tell_it_of_each_other(
    data_dir: Path, tmp_path: Path
) -> None:
    port = free_port()
    shared = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "metrics"), "METRICS_PORT": str(port)}
    with ScaledStack(data_dir, {**shared, "LOG_FORMAT": "json"}) as stack:
        key = await asyncio.to_thread(stack.issue_key)
        async with Rest(stack, key) as rest:
            rest.http.headers["X-Request-ID"] = "browser-1"
            turn = await rest.start(await rest.new_session(), "/words 5")
            assert (await rest.ended(turn, 15))["status"] == "completed"
        worker = await asyncio.to_thread(read, f"http://127.0.0.1:{port}")
        web = await asyncio.to_thread(read, stack.url)
        [claimed] = [each for each in objects(stack.workers[0].output()) if each.get("action") == "turn_claimed"]
    assert (ended(worker), ended(web)) == (1.0, 1.0)
    assert "holdfast_db_pool_waiting 0.0" in worker
    assert "holdfast_workers 1.0" in web
    assert "holdfast_workers" not in worker, "what is a row is told by those who serve pages, once"
    assert (claimed["request_id"], claimed["turn_id"]) == ("browser-1", turn)
