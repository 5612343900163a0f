"""``manage.py create_bot``: a bot and a key for it."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from common.errors import AppError
from copilot.management.base import OperatorCommand
from linking.bots import register_bot


class Command(OperatorCommand):
    """Print a new bot's key, alone on the last line."""

    help = (
        "Register a bot and print its key (hfb_…) on the last line. Of a bot that is registered already the keys "
        "stay, and it gets one more; `rotate_bot_key` replaces them."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("name")
        parser.add_argument("--platform", required=True, help="where it lives, as in discord, slack or telegram")
        parser.add_argument("--scopes", default="", help="approve: owners can decide there (default: none)")

    def handle(self, *args: Any, **options: Any) -> None:
        """Register it; every refusal is one line."""
        try:
            _, secret = register_bot(
                name=options["name"], platform=options["platform"], scopes=scopes_of(options["scopes"])
            )
        except AppError as error:
            raise CommandError(error.detail) from error
        self.stdout.write(secret)


def scopes_of(text: str) -> list[str]:
    """Return the scopes that are written with commas between."""
    return [name.strip() for name in text.split(",") if name.strip()]
