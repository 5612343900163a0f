"""App registration."""

from django.apps import AppConfig


class LinkingConfig(AppConfig):
    """The linking app."""

    name = "linking"

    def ready(self) -> None:
        """Register how the API document names the ways to authenticate, and listen to what bots are told and to
        the sweep.
        """
        import linking.schema  # noqa: F401
        from copilot.signals import sweeping
        from linking.threads import sweep_left_over
        from linking.webhooks import events

        events.connect()
        sweeping.connect(sweep_left_over, dispatch_uid="threads")
