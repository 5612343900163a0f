"""``manage.py doctor``: a line for each thing that an installation needs."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from copilot.diagnostics import doctor, storage
from copilot.diagnostics.doctor import Finding, examine
from copilot.mcp import listing
from copilot.models import Worker
from copilot.providers import registry
from copilot.providers.base import ProviderError, StreamPart, Text
from copilot.tools import sandbox
from tests.diagnostics.conftest import manage, manage_failing

ROOT = Path(__file__).resolve().parent.parent.parent
pytestmark = pytest.mark.django_db


@pytest.fixture
def data_dir(settings: Any, tmp_path: Path) -> Path:
    """A data directory of the test's own."""
    settings.DATA_DIR = tmp_path
    return tmp_path


@pytest.fixture
def here(data_dir: Path) -> Iterator[Worker]:
    """A running server: a worker that reported just now, sees the same files and holds their lock."""
    worker = Worker.objects.create(host="here", pid=7, version="0", slots=1)
    storage.write_probe(worker.pk)
    with (data_dir / "up.lock").open("w") as lock:
        lock.write("7")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield worker


def line(name: str, **options: Any) -> Finding:
    """Return the finding of that name; the only one, or the worst."""
    found = [finding for finding in examine(**options) if finding.name == name]
    return sorted(found, key=lambda finding: ["FAIL", "warn", "ok"].index(finding.level))[0]


def test_all_is_well(here: Worker, settings: Any) -> None:
    settings.SHELL_SANDBOX = "disabled"  # a machine that runs tests need not have one
    lines = manage("doctor").splitlines()
    assert [text.split(":")[0].split(maxsplit=1) for text in lines] == [
        ["ok", "settings"],
        ["ok", "database"],
        ["ok", "broker"],
        ["ok", "channel layer"],
        ["ok", "storage"],
        ["ok", "providers"],
        ["ok", "shell"],
        ["ok", "sweep"],
    ]


@pytest.mark.parametrize(
    ("chosen", "problem", "level"),
    [
        ("disabled", "", "ok"),
        ("bwrap", "", "ok"),
        ("bwrap", "There is no bwrap.", "warn"),
        ("unsafe_host", "", "warn"),
    ],
    ids=["disabled", "works", "missing", "unsafe"],
)
def test_it_says_whether_commands_can_run(
    settings: Any, monkeypatch: pytest.MonkeyPatch, chosen: str, problem: str, level: str
) -> None:
    settings.SHELL_SANDBOX = chosen
    monkeypatch.setattr(sandbox, "problem", lambda: problem)
    found = line("shell")
    assert found.level == level
    assert problem in found.sentence


def test_one_failing_check_is_exit_1(here: Worker, settings: Any) -> None:
    settings.TURN_LEASE_SECONDS = 1
    code, printed = manage_failing("doctor")
    assert code == 1
    assert "FAIL settings: TURN_LEASE_SECONDS is 1" in printed
    assert all(text.startswith(("ok  ", "warn", "FAIL")) for text in printed.splitlines())


def test_a_warning_is_not(here: Worker, settings: Any) -> None:
    settings.DEBUG, settings.BASE_URL = True, "https://copilot.example"
    assert "warn settings: DEBUG is on" in manage("doctor")


def test_it_changes_nothing(here: Worker, data_dir: Path) -> None:
    files = sorted(data_dir.rglob("*"))
    manage("doctor")
    assert Worker.objects.get() == here
    assert sorted(data_dir.rglob("*")) == files


def test_each_mcp_server_has_a_line(here: Worker, settings: Any) -> None:
    settings.MCP_SERVERS = {name: {"command": "x"} for name in ("fine", "new", "broken")}
    listing.keep("fine", listing.usable("fine", [{"name": "look", "inputSchema": {"type": "object"}}]))
    listing.keep_problem("broken", "it ended")
    assert (line("mcp fine").level, line("mcp new").level, line("mcp broken").level) == ("ok", "warn", "FAIL")
    assert line("mcp fine").sentence.startswith("1 tools")
    assert "it ended" in line("mcp broken").sentence


# --- workers and storage ------------------------------------------------------------------------


def test_a_worker_that_sees_other_files_is_named(here: Worker) -> None:
    Worker.objects.create(host="elsewhere", pid=8, version="0", slots=1)
    found = line("storage")
    assert found.level == "FAIL"
    assert "elsewhere:8" in found.sentence
    assert "here:7" not in found.sentence
    assert "elsewhere:8" in storage.storage_problem()


@pytest.mark.django_db(transaction=True)
def test_a_host_with_other_files_is_not_ready(here: Worker, client: Client) -> None:
    assert client.get("/readyz").status_code == 200
    Worker.objects.create(host="elsewhere", pid=8, version="0", slots=1)
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert "elsewhere:8" in answer.json()["problems"]["storage"]


def test_a_worker_that_is_gone_needs_no_probe(here: Worker) -> None:
    gone = Worker.objects.create(host="gone", pid=8, version="0", slots=1)
    Worker.objects.filter(pk=gone.pk).update(seen_at=timezone.now() - timedelta(minutes=5))
    assert line("storage").level == "ok"
    assert storage.storage_problem() == ""


def test_probes_are_removed_by_their_worker_and_forgotten_ones_by_the_next(data_dir: Path) -> None:
    ids = [uuid.uuid4() for _ in range(3)]
    for one in ids:
        storage.write_probe(one)
    storage.remove_probe(ids[0])
    old = time.time() - 2 * storage.FORGOTTEN_SECONDS
    os.utime(data_dir / "probes" / str(ids[1]), (old, old))
    newest = uuid.uuid4()
    storage.write_probe(newest)
    assert {probe.name for probe in (data_dir / "probes").iterdir()} == {str(ids[2]), str(newest)}


def test_a_data_directory_that_is_not_there_is_created_later(settings: Any, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path / "none"
    assert line("storage").level == "warn"
    assert not (tmp_path / "none").exists()


def test_a_data_directory_that_cannot_be_written_fails(settings: Any, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path / "file"
    (tmp_path / "file").write_text("")
    found = line("storage")
    assert (found.level, "cannot be written (" in found.sentence) == ("FAIL", True)


def test_nobody_sweeps(data_dir: Path, settings: Any) -> None:
    settings.EMBEDDED = True
    assert "not running (nobody ever reported)" in line("sweep").sentence
    Worker.objects.create(host="here", pid=7, version="0", slots=1)  # killed a moment ago
    found = line("sweep")
    assert found.level == "warn"
    assert "not running (here:7 reported 0." in found.sentence
    assert "manage.py up" in found.sentence


def test_a_server_that_does_not_report_is_stuck(here: Worker, settings: Any) -> None:
    settings.EMBEDDED = True
    Worker.objects.filter(pk=here.pk).update(seen_at=timezone.now() - timedelta(minutes=2))
    found = line("sweep")
    assert found.level == "FAIL"
    assert "(pid 7) does not report (here:7 reported 12" in found.sentence


def test_scaled_out_a_worker_must_report(data_dir: Path, settings: Any) -> None:
    settings.EMBEDDED = False
    settings.REDIS_URL = settings.REDIS_URL or "redis://127.0.0.1:9/0"
    found = line("sweep")
    assert found.level == "FAIL"
    assert "celery -A config worker" in found.sentence
    Worker.objects.create(host="there", pid=8, version="0", slots=1)
    assert line("sweep").level == "ok"


# --- Redis --------------------------------------------------------------------------------------


@contextmanager
def _silent_server() -> Iterator[int]:
    """A server that takes connections and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@contextmanager
def _no_server() -> Iterator[int]:
    """A port that nobody listens on."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.mark.parametrize("server", [_silent_server, _no_server])
def test_a_dead_redis_is_one_line_within_seconds(here: Worker, settings: Any, server: Any) -> None:
    with server() as port:
        settings.EMBEDDED = False
        settings.REDIS_URL = f"redis://:passw0rd@127.0.0.1:{port}/0"
        began = time.monotonic()
        findings = list(examine())
        assert time.monotonic() - began < 3
    [failed] = [finding for finding in findings if finding.level == "FAIL"]
    assert failed.name == "broker"
    assert f"Redis at 127.0.0.1:{port} does not answer" in failed.sentence
    assert "REDIS_URL" in failed.sentence
    assert "passw0rd" not in "".join(map(str, findings))
    assert "not tried" in line("channel layer").sentence


@pytest.mark.scaled
def test_a_message_comes_back_through_the_channel_layer(here: Worker) -> None:
    assert "a message came back after" in line("channel layer").sentence
    assert "answers" in line("broker").sentence


# --- database -----------------------------------------------------------------------------------


def test_a_database_without_its_tables_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_unapplied", lambda: 3)
    found = line("database")
    assert found.level == "FAIL"
    assert "lacks 3 migrations. Run `manage.py " in found.sentence
    assert line("sweep").level == "warn"


@pytest.mark.process
@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("", "is not there yet. Run `manage.py up`"),
        ("postgres://ada:passw0rd@127.0.0.1:9/nothing", "PostgreSQL nothing at 127.0.0.1:9 cannot be used ("),
    ],
)
def test_it_works_before_anything_ran(tmp_path: Path, url: str, sentence: str) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "ENV_FILE": os.devnull,
        "DATA_DIR": str(tmp_path / "new"),
        "DATABASE_URL": url,
    }
    ended = subprocess.run(
        [sys.executable, "manage.py", "doctor"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (1, "")
    [failed] = [text for text in ended.stdout.splitlines() if text.startswith("FAIL")]
    assert failed.startswith("FAIL database: ")
    assert sentence in failed
    assert "passw0rd" not in ended.stdout
    assert not (tmp_path / "new").exists()


# --- providers ----------------------------------------------------------------------------------


class _Provider:
    """Says a word, or fails."""

    def __init__(self, error: ProviderError | None = None) -> None:
        self._error = error

    async def stream(self, request: Any) -> AsyncGenerator[StreamPart, None]:
        if self._error:
            raise self._error
        yield Text("ok")


def test_without_a_key_there_is_the_demo(here: Worker) -> None:
    found = line("providers")
    assert found.level == "ok"
    assert "new sessions take demo/demo (answers are canned" in found.sentence


def test_a_provider_without_a_key_is_a_warning_unless_new_sessions_take_it(here: Worker, settings: Any) -> None:
    settings.COPILOT_MODELS = ["demo/demo", "openai/gpt-x"]
    found = line("provider openai")
    assert (found.level, "OPENAI_API_KEY" in found.sentence) == ("warn", True)
    settings.COPILOT_DEFAULT_MODEL = "openai/gpt-x"
    assert line("provider openai").level == "FAIL"


def test_a_provider_without_a_model_is_a_warning(here: Worker, settings: Any) -> None:
    settings.COPILOT_PROVIDERS = {"groq": {"api": "openai", "base_url": "https://groq.example/v1"}}
    found = line("provider groq")
    assert (found.level, "COPILOT_MODELS" in found.sentence) == ("warn", True)


def test_providers_are_asked_only_on_request(here: Worker, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.COPILOT_MODELS = ["openai/gpt-x"]
    settings.OPENAI_API_KEY = "sk-x"
    provider = _Provider()
    monkeypatch.setattr(registry, "provider_for", lambda model_id: (provider, "gpt-x"))
    assert not [finding for finding in examine() if finding.name == "provider openai"]
    assert "openai/gpt-x answered after" in line("provider openai", online=True).sentence
    provider._error = ProviderError("auth", "The key was refused.", hint="Correct OPENAI_API_KEY.")
    found = line("provider openai", online=True)
    assert found.level == "FAIL"
    assert found.sentence == "openai/gpt-x failed: The key was refused. Correct OPENAI_API_KEY."
