"""App registration."""

from django.apps import AppConfig


class LinkingConfig(AppConfig):
    """The linking app."""

    name = "linking"

    def ready(self) -> None:
        """Register how the API document names the ways to authenticate, and listen to what bots are told."""
        import linking.schema  # noqa: F401
        from linking.webhooks import events

        events.connect()
