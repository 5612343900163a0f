"""``manage.py delete_user NAME --yes``: delete a person with everything that is theirs."""

from __future__ import annotations

import argparse
import time
import uuid
from typing import Any

from django.core.management.base import CommandError

from common.db import release_connections
from common.errors import AppError
from common.faults import reach
from copilot.management.base import OperatorCommand
from copilot.models import File, Session, User
from copilot.retention.decision import begin_deletion
from copilot.retention.deletion import Progress, go_on

#: Seconds between two looks at what cannot be done right now, and for which that may go on.
LOOK_SECONDS = 0.2
PATIENCE_SECONDS = 30.0


class Command(OperatorCommand):
    """Delete to the end, whoever began it; say what would go when it is not confirmed."""

    help = (
        "Delete a person with their sessions, files, keys and links, for good. What was approved stays on the log "
        "as nobody's. If it is interrupted, the same command goes on with it, and so does every running server."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("name", metavar="NAME", help="a user name")
        parser.add_argument("--yes", action="store_true", help="without it nothing is deleted")

    def handle(self, *args: Any, **options: Any) -> None:
        """Delete, or say in one line why not."""
        user = User.objects.filter(username=options["name"]).first()
        if user is None:
            raise CommandError(f"There is no user {options['name']!r}.")
        if not options["yes"]:
            sessions, files = Session.objects.filter(user=user).count(), File.objects.filter(user=user).count()
            raise CommandError(
                f"{user.get_username()} has {sessions} sessions and {files} files, which cannot be had back. Run "
                "it again with --yes, after `manage.py export_user` if anybody may want them."
            )
        try:
            begin_deletion(user.pk, by=None, operated=True)
        except AppError as error:
            raise CommandError(error.detail) from error
        reach("person_leaves")
        self._finish(user.pk)
        self.stdout.write(f"Deleted: {user.get_username()}.")

    def _finish(self, user_id: uuid.UUID) -> None:
        waits_since = time.monotonic()
        while (progress := go_on(user_id)) is not Progress.DONE:
            if progress is Progress.MORE:
                waits_since = time.monotonic()
                continue
            if time.monotonic() - waits_since > PATIENCE_SECONDS:
                raise CommandError(
                    "Something of theirs is still in use. Nobody can log in as them, and the server goes on with "
                    "it; run this again to see it done."
                )
            release_connections()
            time.sleep(LOOK_SECONDS)
