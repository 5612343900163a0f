"""App registration."""

from django.apps import AppConfig


class CopilotConfig(AppConfig):
    """The copilot app."""

    name = "copilot"

    def ready(self) -> None:
        """Register the checks."""
        from copilot import checks  # noqa: F401
