"""App registration."""

from django.apps import AppConfig


class ProjectConfig(AppConfig):
    """The project itself: an app for the sake of its commands and checks."""

    name = "config"

    def ready(self) -> None:
        """Register the checks."""
        from config import checks  # noqa: F401
