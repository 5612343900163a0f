"""``manage.py set_webhook NAME URL``"""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from common.errors import AppError
from copilot.management.base import OperatorCommand
from linking.models import Bot
from linking.webhooks.registration import set_webhook


class Command(OperatorCommand):
    """Has a bot told at an address of what happens; a new secret is printed alone on the last line."""

    help = "Set where a bot is told of what happens. A new secret is printed alone on the last line."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the bot's name and the address."""
        parser.add_argument("name")
        parser.add_argument("url")
        parser.add_argument("--rotate", action="store_true", help="sign with a new secret")

    def handle(self, *args: Any, **options: Any) -> None:
        """Set it, and print what is new."""
        bot = Bot.objects.filter(name=options["name"]).first()
        if bot is None:
            raise CommandError(f"There is no bot named {options['name']!r}. Make one with create_bot.")
        try:
            done = set_webhook(bot=bot, url=options["url"], rotate_secret=options["rotate"])
        except AppError as error:
            raise CommandError(error.detail) from error
        self.stdout.write(f"{bot.name} is told at {done.webhook.url}.")
        if done.secret is not None:
            self.stdout.write("The secret for checking signatures, which is shown this once:")
            self.stdout.write(done.secret)
