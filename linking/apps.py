"""App registration."""

from django.apps import AppConfig


class LinkingConfig(AppConfig):
    """The linking app."""

    name = "linking"

    def ready(self) -> None:
        """Register how the API document names the ways to authenticate, and listen to what bots are told, to the
        sweep, and to what becomes of people's data.
        """
        import linking.schema  # noqa: F401
        from copilot.signals import deleting, exporting, sweeping
        from linking.exported import tables_of_person
        from linking.leaving import delete_of_person, forget_old_tokens
        from linking.threads import sweep_left_over
        from linking.webhooks import events

        events.connect()
        sweeping.connect(sweep_left_over, dispatch_uid="threads")
        sweeping.connect(forget_old_tokens, dispatch_uid="tokens")
        deleting.connect(delete_of_person, dispatch_uid="linking")
        exporting.connect(tables_of_person, dispatch_uid="linking")
