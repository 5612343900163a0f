"""``manage.py issue_key``: a key for a person, who is created if need be."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError, ProgrammingError

from common.db import transact
from common.errors import AppError
from copilot.models import User
from copilot.operators.permission import let_operate
from linking.keys import DEFAULT_SCOPES, checked_scopes, issue_key


class Command(BaseCommand):
    """Print a new personal key, alone on the last line."""

    help = "Create the user if there is none of that name, and print a personal key (hf_…) on the last line."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("username")
        parser.add_argument("--label", default="", help="what the key is for; shown in lists of keys")
        parser.add_argument(
            "--scopes",
            default=",".join(DEFAULT_SCOPES),
            help="some of chat,approve,operator; operator also makes the user staff that may act on turns "
            "(default: %(default)s)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Issue the key; every refusal is one line."""
        scopes = [name.strip() for name in options["scopes"].split(",") if name.strip()]
        try:
            secret = issue_for_name(username=options["username"], label=options["label"], scopes=scopes)
        except AppError as error:
            raise CommandError(error.detail) from error
        except (OperationalError, ProgrammingError) as error:
            raise CommandError(f"The database is not ready: {error}. Run 'manage.py migrate' first.") from error
        self.stdout.write(secret)


@transact
def issue_for_name(*, username: str, label: str, scopes: list[str]) -> str:
    """Return the secret of a new key for ``username``, created without a usable password if absent.

    Raises:
        CommandError: the name is not allowed, or the user is deactivated.
        Invalid: a bad scope or label.
    """
    wanted = checked_scopes(scopes)
    user = User.objects.filter(username=username).first() or _create(username)
    if not user.is_active:
        raise CommandError(f"{username} is deactivated; a key would not work. Activate the user first.")
    if "operator" in wanted:
        let_operate(user)
    return issue_key(user=user, label=label, scopes=wanted)[1]


def _create(username: str) -> User:
    user = User(username=username)
    user.set_unusable_password()
    try:
        user.clean_fields()
    except ValidationError as error:
        raise CommandError(f"{username!r} is not a user name: {' '.join(error.messages)}") from error
    user.save(force_insert=True)
    return user
