"""Processes under test: their logs are shown when a test fails, and what they need must be there."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.process import servers

# The figures that these tests log are lost among one line a request otherwise.
logging.getLogger("httpx2").setLevel(logging.WARNING)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Iterator[None]:
    """Add the logs of whatever runs to the report of a failure."""
    report: Any = yield
    if report.failed:
        logs = [stack.logs() for stack in servers.running] + servers.last_words
        report.sections += [("server logs", text) for text in logs]
    if call.when == "teardown":
        servers.last_words.clear()
    return report


@pytest.fixture(autouse=True)
def _services(request: pytest.FixtureRequest) -> None:
    """Skip tests of the scaled stack where it cannot be started."""
    if request.node.get_closest_marker("scaled") and (missing := _missing()):
        pytest.skip(missing)


@cache
def _missing() -> str:
    if not shutil.which("redis-server"):
        return "there is no redis-server to start"
    try:
        psycopg.connect(servers.POSTGRES, connect_timeout=2).close()
    except psycopg.OperationalError:
        return "PostgreSQL does not answer"
    return ""


@pytest.fixture(scope="session", autouse=True)
def _template_database() -> Iterator[None]:
    yield
    servers.databases.close()


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A data directory that is not there yet."""
    return tmp_path / "data"
