"""App registration."""

from django.apps import AppConfig


class ApprovalsConfig(AppConfig):
    """The approvals app."""

    name = "approvals"

    def ready(self) -> None:
        """Register the checks."""
        from approvals import checks, checks_reach  # noqa: F401
