"""System checks, and how they stop a start."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.checks.messages import CheckMessage

from common.checks import TAG
from common.version import VERSION
from config.checks import require_sound_settings, sentence

ROOT = Path(__file__).resolve().parent.parent.parent
POSTGRES = "django.db.backends.postgresql"
SQLITE = "django.db.backends.sqlite3"


def found() -> dict[str, CheckMessage]:
    """Return our own messages by id."""
    return {str(message.id): message for message in run_checks(tags=[TAG])}


@pytest.fixture
def configure(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Any]], None]:
    """Return a function that changes settings; ENGINE is that of the database."""

    def change(values: dict[str, Any]) -> None:
        for name, value in values.items():
            if name == "ENGINE":
                monkeypatch.setitem(settings.DATABASES["default"], "ENGINE", value)
            else:
                setattr(settings, name, value)

    return change


@pytest.mark.django_db  # newer Djangos ask the database whether it knows JSON
def test_the_settings_of_the_suite_are_sound() -> None:
    assert found() == {}
    require_sound_settings()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"TURN_LEASE_SECONDS": 3.9, "TURN_HEARTBEAT_SECONDS": 1.0}, "E001"),
        ({"COPILOT_PROVIDERS": {"groq": {"api": "openai"}}}, "E002"),
        ({"COPILOT_PROVIDERS": {"groq": "x"}}, "E002"),
        ({"COPILOT_DEFAULT_MODEL": "nobody/nothing"}, "E003"),
        ({"COPILOT_MODELS": ["demo/demo", "nobody/nothing"]}, "E003"),
        ({"MCP_SERVERS": {"Zoo": {"url": "https://zoo.example/mcp"}}}, "E010"),
        ({"MCP_SERVERS": {"zoo": {"command": "zoo", "url": "https://zoo.example/mcp"}}}, "E010"),
        ({"APPROVALS_DENY": ["shell", " "]}, "E005"),
        ({"APPROVALS_ASK": ["mcp:github *"]}, "E005"),
        ({"APPROVALS_ALLOW": ["'shell'"]}, "E005"),
        ({"APPROVALS_DENY": ["mcp__github__*"]}, "E005"),
        ({"EMBEDDED": False, "SECRET_KEY_MISSING": True, "ENGINE": POSTGRES}, "E004"),
        ({"EMBEDDED": False, "ENGINE": SQLITE}, "W001"),
        ({"DEBUG": True, "BASE_URL": "https://copilot.example"}, "W002"),
        ({"SECURE_SSL_REDIRECT": True, "BASE_URL": "http://127.0.0.1:8000"}, "E020"),
    ],
)
def test_a_wrong_setting_is_named_with_its_mend(
    configure: Callable[[dict[str, Any]], None], changes: dict[str, Any], expected: str
) -> None:
    configure(changes)
    messages = found()
    assert list(messages) == [f"holdfast.{expected}"]
    message = messages[f"holdfast.{expected}"]
    assert message.hint
    assert any(name in f"{message.msg} {message.hint}" for name in (*changes, "REDIS_URL", "SECRET_KEY"))
    assert message.is_serious() == expected.startswith("E")


@pytest.mark.parametrize(
    "changes",
    [
        {"TURN_LEASE_SECONDS": 4.0, "TURN_HEARTBEAT_SECONDS": 1.0},
        {"EMBEDDED": True, "SECRET_KEY_MISSING": True},
        {"EMBEDDED": False, "ENGINE": POSTGRES},
        {"DEBUG": True, "BASE_URL": "http://127.0.0.1"},
        {"DEBUG": False, "BASE_URL": "https://copilot.example"},
        {"SECURE_SSL_REDIRECT": True, "BASE_URL": "https://copilot.example"},
        {"COPILOT_PROVIDERS": {"groq": {"api": "openai", "base_url": "https://x"}}, "COPILOT_MODELS": ["groq/x"]},
    ],
)
def test_a_right_setting_is_not(configure: Callable[[dict[str, Any]], None], changes: dict[str, Any]) -> None:
    configure(changes)
    assert found() == {}


def test_every_error_is_a_line_of_its_own(settings: Any) -> None:
    settings.TURN_LEASE_SECONDS = 1
    settings.COPILOT_DEFAULT_MODEL = "nobody/nothing"
    with pytest.raises(SystemExit) as stopped:
        require_sound_settings([TAG])
    lines = str(stopped.value.code).splitlines()
    assert [line.partition(":")[0] for line in lines] == ["holdfast.E001", "holdfast.E003"]
    assert lines[0] == f"holdfast.E001: {sentence(found()['holdfast.E001'])}"


def test_a_warning_stops_nothing(settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    settings.DEBUG, settings.BASE_URL = True, "https://copilot.example"
    require_sound_settings([TAG])
    assert "Set DEBUG=false." in caplog.text


@pytest.mark.process
@pytest.mark.parametrize(
    "command",
    [
        ["manage.py", "up", "--port", "0"],
        ["-c", "import config.asgi"],
        [str(Path(sys.executable).parent / "celery"), "-A", "config", "worker"],
    ],
)
def test_no_process_starts_with_a_wrong_setting(command: list[str], tmp_path: Path) -> None:
    """One line on stderr and nothing else; nothing is asked of database or broker before."""
    environment = {
        "PATH": os.environ["PATH"],
        "ENV_FILE": os.devnull,
        "DATA_DIR": str(tmp_path),
        "SECRET_KEY": "x" * 50,
        "TURN_LEASE_SECONDS": "2",
        "DATABASE_URL": "postgres://nobody@127.0.0.1:9/nothing",
        "REDIS_URL": "redis://127.0.0.1:9/0",
        "PYTHONWARNINGS": "ignore",
        "DJANGO_SETTINGS_MODULE": "config.settings",
    }
    ended = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    [line] = [line for line in ended.stderr.splitlines() if "holdfast." in line]
    assert line.startswith("holdfast.E001: TURN_LEASE_SECONDS is 2, less than 4 heartbeats of 1 s")
    assert ended.stderr.strip().endswith(line)


def test_the_version_is_said_in_one_place() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == VERSION
