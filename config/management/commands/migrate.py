"""``manage.py migrate``: Django's own, after a look whether the database is there at all."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError
from django.core.management.commands import migrate
from django.db import DatabaseError

from copilot.diagnostics.doctor import connect_once


class Command(migrate.Command):
    """Django's command; a database that does not let us in is one line, not a traceback."""

    def handle(self, *args: Any, **options: Any) -> None:
        """Migrate.

        Raises:
            CommandError: the database cannot be reached.
        """
        try:
            connect_once()
        except DatabaseError as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
            raise CommandError(f"DATABASE_URL: {reason}. Start the database, or correct the URL.") from error
        super().handle(*args, **options)
