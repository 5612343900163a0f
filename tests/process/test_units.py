"""From an empty database to an answer with the very commands of the systemd units, and down again in time."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.deploy.files import PROGRAMS, command, filled, unit
from tests.process.clients import Rest
from tests.process.servers import ROOT, Process, RedisServer, ScaledStack, databases, until, url_of

pytestmark = [pytest.mark.process, pytest.mark.scaled]

#: What the proxy in front adds.
PROXIED = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.7", "Host": "copilot.example.org"}
START_SECONDS = 60.0


class UnitStack(ScaledStack):
    """Processes started as the units start them, with the settings of ``holdfast.env.example``."""

    def __init__(self, data_dir: Path) -> None:
        super().__init__(data_dir)
        # systemd gives each unit a /tmp of its own.
        self.env |= {**filled(), "DATA_DIR": str(data_dir), "TMPDIR": str(self.folder)}

    def start_unit(self, name: str, port: int = 0) -> Process:
        """Start what a unit starts, on a free port where it is a web process."""
        program, *words = [str(port) if word == "8000" else word for word in command(name)]
        path = Path(sys.executable).parent / program.removeprefix(PROGRAMS)
        process = Process(name.removesuffix(".service"), [str(path), *words], env=self.env, folder=self.folder)
        self.processes.append(process)
        return process.start()

    def _open(self) -> None:
        name = databases.create(migrated=False)
        self._exit.callback(databases.drop, name)
        self.redis = RedisServer(self.folder).start()
        self.processes.append(self.redis)
        self.data_dir.mkdir()
        self.env |= {"DATABASE_URL": url_of(name), "REDIS_URL": self.redis.url}
        migrate = self.start_unit("holdfast-migrate.service")
        until("end of the migration", lambda: not migrate.alive, START_SECONDS)
        assert migrate.exit_code == 0, migrate.output()
        self.web = [self.start_unit("holdfast-web.service", self.port)]
        self.workers = [self.start_unit("holdfast-worker@.service")]
        self.wait_ready(self.web[0])
        until("worker", self._registered, START_SECONDS)

    def readyz(self) -> dict[str, object]:
        """Ask as a health check of this host does: over http, by its number."""
        with urllib.request.urlopen(f"{self.url}/readyz", timeout=10) as answer:
            found: dict[str, object] = json.load(answer)
        return found

    def worker_answers(self) -> bool:
        """Ask as a container's health check does."""
        asked = [sys.executable, "-m", "common.alive"]
        return subprocess.run(asked, cwd=ROOT, env=self.env, capture_output=True, timeout=30).returncode == 0


async def test_the_units_lead_from_an_empty_database_to_an_answer(data_dir: Path) -> None:
    with UnitStack(data_dir) as stack:
        assert await asyncio.to_thread(stack.readyz) == {"ready": True}
        key = await asyncio.to_thread(stack.issue_key)
        async with Rest(stack, key, timeout=30) as rest:
            redirected = await rest.http.get("me", headers={"Host": PROXIED["Host"]})
            assert redirected.status_code == 301
            assert redirected.headers["location"] == "https://copilot.example.org/api/v1/me"
            rest.http.headers.update(PROXIED)
            answered = await rest.http.get("me")
            assert answered.headers["strict-transport-security"] == "max-age=3600"
            turn = await rest.start(await rest.new_session(), "/words 5")
            ended = await rest.ended(turn, 30)
        assert (ended["status"], ended["text"]) == ("completed", "w1 w2 w3 w4 w5")
        await asyncio.to_thread(until, "report of the worker", stack.worker_answers, 30)
        for process, name in [
            (stack.workers[0], "holdfast-worker@.service"),
            (stack.web[0], "holdfast-web.service"),
        ]:
            code, seconds = await asyncio.to_thread(process.stop, signal.SIGTERM, 30)
            assert code == 0, process.output()
            assert seconds < float(unit(name)["TimeoutStopSec"][0])
        await asyncio.to_thread(stack.check_invariants)
