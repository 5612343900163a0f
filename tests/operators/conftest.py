"""What tests of operators' work rely on."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture(autouse=True)
def lasting_leases(settings: Any) -> None:
    """Keep a worker that a test speaks for alive, however slow the machine is: only ``expire_lease`` ends it."""
    settings.TURN_LEASE_SECONDS = 600
