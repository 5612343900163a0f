"""Who sees what something cost. Where use is limited, amounts would tell people what a percent of it is worth."""

from __future__ import annotations

from django.conf import settings

from copilot.models import User
from copilot.usage.limits import limits_are_set


def shows_cost(viewer: User | None) -> bool:
    """Whether ``viewer`` sees amounts of money; None is anybody who is not staff."""
    if viewer is not None and viewer.is_staff:
        return True
    return settings.USAGE_SHOW_COST if settings.USAGE_SHOW_COST is not None else not limits_are_set()
