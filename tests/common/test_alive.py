"""A worker says that it answers, to whoever may start it again."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from common import alive

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of this test's own worker."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    return alive.mark()


def test_a_worker_that_never_reported_is_not_alive(mark: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert not mark.exists()
    assert alive.main() == 1
    assert capsys.readouterr().out == "no worker ever reported here\n"


def test_a_report_counts_for_a_while(mark: Path) -> None:
    alive.report_alive()
    assert alive.main() == 0
    os.utime(mark, (0, mark.stat().st_mtime - alive.SILENCE - 1))
    assert alive.main() == 1
    alive.report_alive()
    assert alive.main() == 0


def test_a_link_in_the_shared_directory_leads_nowhere(mark: Path, tmp_path: Path) -> None:
    mark.symlink_to(tmp_path / "elsewhere")
    alive.report_alive()
    assert not (tmp_path / "elsewhere").exists()


def test_systemd_is_told(mark: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.settimeout(5)
        listener.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        alive.report_alive()
        assert listener.recv(100) == b"WATCHDOG=1"


def test_a_listener_that_is_gone_costs_nothing(
    mark: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    alive.report_alive()
    assert mark.exists()


def test_asking_loads_nothing_of_the_project(mark: Path, tmp_path: Path) -> None:
    """It is asked twice a minute in every container: without settings, and without the seconds that they take."""
    alive.report_alive()
    asked: Any = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "common.alive"],
        cwd=ROOT,
        env={"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert asked.returncode == 0, asked.stderr
    assert asked.stdout.startswith("reported ")
    assert "django" not in asked.stderr
