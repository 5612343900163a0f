"""``manage.py export_user NAME``: everything of one person in a zip."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from copilot.export.archive import write_export
from copilot.management.base import OperatorCommand
from copilot.models import User


class Command(OperatorCommand):
    """Write the same archive that the person gets on the page of their account."""

    help = (
        "Write everything that is a person's into a zip: sessions, messages, tool calls, approvals, usage and "
        "files, as they were shown. Secrets are not in it."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("name", metavar="NAME", help="a user name")
        parser.add_argument("--to", metavar="FILE", help="where to; it must not be there yet (default: NAME.zip)")

    def handle(self, *args: Any, **options: Any) -> None:
        """Export, or say in one line why not."""
        user = User.objects.filter(username=options["name"]).first()
        if user is None:
            raise CommandError(f"There is no user {options['name']!r}.")
        target = Path(options["to"] or f"{user.get_username()}.zip")
        try:
            manifest = _write(user, target)
        except FileExistsError as error:
            raise CommandError(f"{target} is there already: choose another --to, or remove it.") from error
        except OSError as error:
            raise CommandError(f"{target} cannot be written: {error.strerror or error}.") from error
        left_out = len(manifest["left_out"])
        self.stdout.write(f"{target}: {sum(manifest['rows'].values())} rows, {manifest['files']['count']} files.")
        if left_out:
            self.stdout.write(f"Left out: {left_out} files; manifest.json in it says which and why.")


def _write(user: User, target: Path) -> dict[str, Any]:
    """Write the archive for nobody's eyes but the operator's; one that fails leaves nothing."""
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as out:
            return write_export(user, out)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
