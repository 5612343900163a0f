"""App registration."""

from django.apps import AppConfig


class CopilotConfig(AppConfig):
    """The copilot app."""

    name = "copilot"

    def ready(self) -> None:
        """Register the checks, and listen to what people decide."""
        from copilot import checks  # noqa: F401
        from copilot.turns import answered

        answered.connect()
