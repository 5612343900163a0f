"""Django's own checks of a deployment find nothing to say about the settings that we ask for."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.deploy.files import ROOT, filled
from tests.process.servers import environment

pytestmark = pytest.mark.process


def check(**env: str) -> subprocess.CompletedProcess[str]:
    """Run ``manage.py check --deploy``; a warning counts."""
    return subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
        cwd=ROOT,
        env=environment(**env),
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_example_is_a_sound_deployment() -> None:
    done = check(**filled())
    assert done.returncode == 0, done.stderr
    assert "no issues" in done.stdout


@pytest.mark.parametrize("name", ["SECRET_KEY", "SSL_REDIRECT", "HSTS_SECONDS"])
def test_what_the_example_sets_is_needed(name: str) -> None:
    env = filled()
    env[name] = "short" if name == "SECRET_KEY" else ""
    assert check(**env).returncode == 1


def test_a_laptop_over_http_is_not_sent_to_https() -> None:
    """Without BASE_URL nothing of it is on: cookies go over http, nobody is redirected."""
    code = (
        "from config import settings as s; print(s.SECURE_SSL_REDIRECT, s.SECURE_HSTS_SECONDS,"
        " hasattr(s, 'SESSION_COOKIE_SECURE'), hasattr(s, 'SECURE_PROXY_SSL_HEADER'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split() == ["False", "0", "False", "False"], done.stderr
