"""``manage.py doctor``: is everything that this installation needs in order?"""

from __future__ import annotations

import argparse
import logging
import sys
from typing import Any

from django.core.management.base import BaseCommand

from copilot.diagnostics.doctor import examine


class Command(BaseCommand):
    """Print a line for each check; exit 1 when one fails."""

    help = (
        "Check settings, database, broker, channel layer, storage, providers and whether anybody sweeps: a line "
        "each, with the mend where something is wrong, and exit 1 if a check fails. Changes nothing, and works "
        "beside a running server as well as before the first start."
    )
    # What they find is among the findings, also where it would have stopped another command.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument(
            "--online", action="store_true", help="also ask a model of each configured provider for a word"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Examine, and print as it goes."""
        logging.disable(logging.ERROR)  # drivers log what the lines below say better
        failed = False
        try:
            for finding in examine(online=options["online"]):
                failed = failed or finding.level == "FAIL"
                self.stdout.write(str(finding))
                self.stdout.flush()
        finally:
            logging.disable(logging.NOTSET)
        if failed:
            sys.exit(1)
