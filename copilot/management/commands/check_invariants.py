"""``manage.py check_invariants``: finds rows that break a rule."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from copilot.diagnostics.invariants import RULES, violations
from copilot.management.base import OperatorCommand


class Command(OperatorCommand):
    """Print a line for each violation; exit 1 when there is any."""

    help = (
        "Look for turns, sessions and approvals whose rows break a rule, a line each with their ids, and exit 1 "
        "if there are any. Only reads, a bounded batch at a time, and may run beside a server."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument(
            "--since",
            type=_hours,
            metavar="HOURS",
            help="only what is live, pending or was active within so many hours (default: everything)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Check, and print as it goes."""
        found = 0
        for violation in violations(since_hours=options["since"]):
            found += 1
            self.stdout.write(str(violation))
        if found:
            self.stderr.write(f"{found} violations. `manage.py explain_turn ID` shows a turn's history.")
            sys.exit(1)
        self.stdout.write(f"All {RULES} rules hold.")


def _hours(text: str) -> float:
    try:
        hours = float(text)
    except ValueError:
        hours = -1.0
    if not 0 < hours < 1_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number of hours")
    return hours
