"""System checks of the engine's settings. Every message names the variable, every hint the mend."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register

from common.checks import TAG
from copilot.mcp.config import server_problems
from copilot.providers.registry import provider_problems

#: A lease must outlive a few lost heartbeats, or turns are taken from workers that are only busy.
HEARTBEATS = 4


@register(TAG)
def check_lease(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """A lease lasts at least four heartbeats."""
    lease, heartbeat = settings.TURN_LEASE_SECONDS, settings.TURN_HEARTBEAT_SECONDS
    if lease >= HEARTBEATS * heartbeat:
        return []
    return [
        Error(
            f"TURN_LEASE_SECONDS is {lease:g}, less than {HEARTBEATS} heartbeats of {heartbeat:g} s "
            "(TURN_HEARTBEAT_SECONDS): turns would be taken from workers that are alive.",
            hint=f"Set TURN_LEASE_SECONDS to {HEARTBEATS * heartbeat:g} or more.",
            id="holdfast.E001",
        )
    ]


@register(TAG)
def check_providers(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Providers are set up in a way that can be understood, and every model that is named exists."""
    return [_provider_error(problem) for problem in provider_problems()]


@register(TAG)
def check_mcp_servers(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """MCP servers are described in a way that can be understood."""
    hint = "Correct the JSON in MCP_SERVERS."
    return [Error(problem, hint=hint, id="holdfast.E010") for problem in server_problems()]


def _provider_error(problem: str) -> Error:
    name, _, _ = problem.partition(":")
    if name == "COPILOT_PROVIDERS":
        return Error(problem, hint="Correct the JSON in COPILOT_PROVIDERS.", id="holdfast.E002")
    return Error(problem, hint=f"Correct {name}, or unset it.", id="holdfast.E003")
