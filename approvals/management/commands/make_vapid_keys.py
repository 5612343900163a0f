"""``manage.py make_vapid_keys``: the keys with which browsers are told that a decision waits."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from approvals.reach.webpush import new_keys


class Command(BaseCommand):
    """Print two lines for the environment, or for .env."""

    help = (
        "Print a new pair of keys for web push, as two lines for .env. Browsers that were told with other keys "
        "have to be asked again."
    )
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the keys."""
        private, public = new_keys()
        self.stdout.write(f"VAPID_PRIVATE_KEY={private}")
        self.stdout.write(f"VAPID_PUBLIC_KEY={public}")
