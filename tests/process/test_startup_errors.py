"""What cannot start says why in one line that names the variable, and changes nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.process.servers import ROOT, EmbeddedServer, environment, free_port

pytestmark = pytest.mark.process

UP = ["manage.py", "up"]
WEB = ["-m", "uvicorn", "config.asgi:application", "--port", "0"]
WORKER = ["-m", "celery", "-A", "config", "worker"]
#: Celery warns root in six lines before anything else happens.
AS_ROOT = {"PYTHONWARNINGS": "ignore:You're running the worker with superuser"}
#: Where nobody listens: a start that gets this far without refusing fails otherwise.
NOWHERE = {"REDIS_URL": "redis://127.0.0.1:1/0", "DATABASE_URL": "postgres://nobody@127.0.0.1:1/none"}


def refusal(command: list[str], **env: str) -> str:
    """Run a command that must refuse to start; return the one line that it says."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=environment(**env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=30,
    )
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    assert done.returncode != 0, lines
    assert len(lines) == 1, done.stdout
    return lines[0]


def listing(folder: Path) -> list[tuple[str, bytes]]:
    """Return the files below a folder with their content."""
    return sorted((str(path), path.read_bytes()) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "abc"),
        ("TURN_LEASE_SECONDS", "x"),
        ("TURN_HEARTBEAT_SECONDS", "4"),
        ("WORKER_TURNS", "0"),
        ("AUDIT_RETENTION_DAYS", "1000000"),
        ("USAGE_RETENTION_DAYS", "1000000"),
        ("DATABASE_URL", "mysql://127.0.0.1/db"),
        ("DATABASE_URL", "nonsense"),
        ("DATABASE_URL", "postgres://db.example.org"),
        ("REDIS_URL", "redis.example.org:6379"),
        ("COPILOT_PROVIDERS", "{not json"),
        ("COPILOT_PROVIDERS", "[]"),
        ("COPILOT_DEFAULT_MODEL", "nobody/knows"),
        ("MCP_SERVERS", '{"zoo": {"command": "zoo", "url": "https://zoo.example/mcp"}}'),
        ("DEBUG", "maybe"),
        ("LOG_LEVEL", "LOUD"),
        ("FAULT_POINTS", "anywhere"),
    ],
)
def test_a_bad_value_names_its_variable(data_dir: Path, name: str, value: str) -> None:
    settings = {"DATA_DIR": str(data_dir), "PORT": str(free_port()), name: value}
    assert name in refusal(UP, **settings)
    assert not (data_dir / "holdfast.sqlite3").exists()


@pytest.mark.parametrize("command", [WEB, WORKER], ids=["web", "worker"])
def test_scaled_out_needs_a_secret_key(data_dir: Path, command: list[str]) -> None:
    assert "SECRET_KEY" in refusal(command, DATA_DIR=str(data_dir), **NOWHERE, **AS_ROOT)
    assert not data_dir.exists()


@pytest.mark.parametrize("command", [WEB, WORKER], ids=["web", "worker"])
def test_scaled_out_names_bad_values_too(data_dir: Path, command: list[str]) -> None:
    settings = {**NOWHERE, **AS_ROOT, "SECRET_KEY": "x" * 50, "TURN_LEASE_SECONDS": "soon"}
    assert "TURN_LEASE_SECONDS" in refusal(command, DATA_DIR=str(data_dir), **settings)


@pytest.mark.parametrize("missing", ["DATABASE_URL", "REDIS_URL"])
def test_a_worker_says_what_it_cannot_do_without(data_dir: Path, missing: str) -> None:
    """Celery itself would log the error and keep a process that runs nothing."""
    urls = {**NOWHERE, "REDIS_URL": ""} if missing == "REDIS_URL" else NOWHERE
    assert refusal(WORKER, DATA_DIR=str(data_dir), SECRET_KEY="x" * 50, **urls, **AS_ROOT).startswith(missing)


def test_a_migration_without_a_database_is_one_line(data_dir: Path) -> None:
    line = refusal(["manage.py", "migrate"], DATA_DIR=str(data_dir), SECRET_KEY="x" * 50, **NOWHERE)
    assert "DATABASE_URL: connection failed" in line


def test_several_web_processes_refuse_once_and_for_all(data_dir: Path) -> None:
    """Uvicorn starts a process again that ends with any other status, for ever."""
    done = subprocess.run(
        [sys.executable, *WEB, "--workers", "2"],
        cwd=ROOT,
        env=environment(DATA_DIR=str(data_dir), **NOWHERE),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    lines = done.stderr.splitlines()
    assert any(line.startswith("SECRET_KEY: is not set.") for line in lines), done.stderr
    assert any("failed to start, stopping the parent process" in line for line in lines), done.stderr


def test_a_data_directory_that_cannot_be_written(tmp_path: Path) -> None:
    """Below a file, because permissions do not bind root."""
    file = tmp_path / "file"
    file.write_text("kept")
    assert "DATA_DIR" in refusal(UP, DATA_DIR=str(file / "data"), PORT=str(free_port()))
    assert "DATA_DIR" in refusal(UP, DATA_DIR=str(file), PORT=str(free_port()))
    assert listing(tmp_path) == [(str(file), b"kept")]


def test_a_busy_port_and_a_second_server_on_the_same_data(data_dir: Path, tmp_path: Path) -> None:
    with EmbeddedServer(data_dir) as server:
        other = tmp_path / "other"
        line = refusal(UP, DATA_DIR=str(other), PORT=str(server.port))
        assert "PORT" in line
        assert str(server.port) in line
        assert not (other / "holdfast.sqlite3").exists()
        second = refusal(UP, DATA_DIR=str(data_dir), PORT=str(free_port()))
        assert "DATA_DIR" in second
        assert str(server.server.pid) in second
        # The first one is none the worse for it, and still the one that is named.
        assert server.issue_key().startswith("hf_")
        assert str(server.server.pid) in refusal(UP, DATA_DIR=str(data_dir), PORT=str(free_port()))
