"""``manage.py rotate_bot_key``: a new key in place of all that a bot has."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from common.errors import AppError
from copilot.management.base import OperatorCommand
from linking.bots import rotate_key
from linking.management.commands.create_bot import scopes_of


class Command(OperatorCommand):
    """Print a bot's new key, alone on the last line."""

    help = "Give a bot a new key, print it (hfb_…) on the last line, and end all others."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("name")
        parser.add_argument(
            "--grace", type=int, default=0, help="seconds for which the old keys go on working (default: 0)"
        )
        parser.add_argument("--scopes", default=None, help="of the new key (default: as the newest has them)")

    def handle(self, *args: Any, **options: Any) -> None:
        """Rotate; every refusal is one line."""
        scopes = None if options["scopes"] is None else scopes_of(options["scopes"])
        try:
            _, secret = rotate_key(name=options["name"], grace=options["grace"], scopes=scopes)
        except AppError as error:
            raise CommandError(error.detail) from error
        self.stdout.write(secret)
