"""What the operator's commands share."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from copilot.diagnostics.doctor import connect_once


class OperatorCommand(BaseCommand):
    """A command on rows: a database that is not there or not migrated is one line, not a traceback."""

    requires_system_checks: list[str] = []

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Run the command.

        Raises:
            CommandError: the database cannot be used.
        """
        try:
            connect_once()
            return super().execute(*args, **options)
        except DatabaseError as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
            raise CommandError(f"The database cannot be used: {reason} (`manage.py doctor` says more).") from error
