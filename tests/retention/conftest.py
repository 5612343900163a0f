"""Two people whose rows lie between each other's, and somebody who operates the server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_django import Settings

from copilot.models import User
from tests.retention.lives import Life, make_bot


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path, settings: Settings) -> Path:
    """A folder of the test's own for files."""
    settings.DATA_DIR = tmp_path
    return tmp_path


@pytest.fixture
def operator(make_user: Callable[..., User]) -> User:
    """A superuser."""
    return make_user(username="root", is_staff=True, is_superuser=True)


@pytest.fixture
def lives(make_user: Callable[..., User], operator: User) -> tuple[Life, Life]:
    """Two people with something of everything, whose names are in no other word."""
    bot = make_bot()
    one, other = (Life(make_user(username=name), bot, operator) for name in ("qadaq", "qgraceq"))
    return one, other
