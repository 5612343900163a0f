"""What every test may rely on: people, a database that threads can share, and a clean environment."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import SyncToAsync
from django.conf import settings
from django.db import connections

from common import faults
from copilot.models import User
from tests.emptying import empty_quickly

#: What a person's shell may hold and no test, nor a process that a test starts, may see.
_FOREIGN_PREFIXES = (
    "OPENAI_",
    "ANTHROPIC_",
    "COPILOT_",
    "APPROVALS_",
    "MCP_",
    "USAGE_",
    "VAPID_",
    "EMAIL_",
    "SHELL_",
)
_FOREIGN_NAMES = {"FAULT_POINTS", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "BASE_URL", "HOST", "PORT"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse async database tests without real transactions: their rows would leak into later tests."""
    for item in items:
        if not inspect.iscoroutinefunction(getattr(item, "function", None)):
            continue
        mark = item.get_closest_marker("django_db")
        fixtures: list[str] = getattr(item, "fixturenames", [])
        real = "transactional_db" in fixtures or (mark and mark.kwargs.get("transaction"))
        if (mark or "db" in fixtures) and not real:
            raise pytest.UsageError(f"{item.nodeid}: async tests need django_db(transaction=True)")


@pytest.fixture(scope="session", autouse=True)
def _clean_environment() -> Iterator[None]:
    """Keep keys, proxies and settings of the person who runs the tests out of them."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(_FOREIGN_PREFIXES) or name.upper() in _FOREIGN_NAMES:
                patch.delenv(name)
        for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"):
            patch.setattr(settings, name, "")
        yield


@pytest.fixture(autouse=True)
def _no_fault_left_armed() -> Iterator[None]:
    yield
    faults.disarm_all()


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    django_db_modify_db_settings_parallel_suffix: None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Put SQLite into a file: threads with connections of their own must meet real locks."""
    database = connections["default"].settings_dict
    if database["ENGINE"].endswith("sqlite3"):
        path: Path = tmp_path_factory.mktemp("database") / "test.sqlite3"
        database["TEST"]["NAME"] = str(path)


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """Close what the thread behind Django's async methods still holds before the database is dropped."""
    empty_quickly()
    yield
    SyncToAsync.single_thread_executor.submit(connections.close_all).result()
    if connections["default"].vendor == "postgresql":
        with django_db_blocker.unblock():
            _end_other_sessions()


def _end_other_sessions() -> None:
    """Take from threads that wait for work the connections that they keep for a moment."""
    with connections["default"].cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


@pytest.fixture
def make_user(db: None) -> Callable[..., User]:
    """Return a function that creates a user; keyword arguments replace the defaults."""
    made = 0

    def make(**over: Any) -> User:
        nonlocal made
        made += 1
        values = {"username": f"person{made}", "password": "correct horse battery staple", **over}
        return User.objects.create_user(**values)

    return make


@pytest.fixture
def user(make_user: Callable[..., User]) -> User:
    """The person that a test is about."""
    return make_user(username="ada")


@pytest.fixture
def other_user(make_user: Callable[..., User]) -> User:
    """Somebody else, who must not see what is not theirs."""
    return make_user(username="grace")
