"""App registration."""

from django.apps import AppConfig


class LinkingConfig(AppConfig):
    """The linking app."""

    name = "linking"

    def ready(self) -> None:
        """Register how the API document names the two ways to authenticate."""
        import linking.schema  # noqa: F401
