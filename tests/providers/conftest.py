"""Provider tests leave no connection open."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from copilot.providers.transport import close_clients


@pytest_asyncio.fixture(autouse=True)
async def _closed_clients() -> AsyncIterator[None]:
    yield
    await close_clients()
