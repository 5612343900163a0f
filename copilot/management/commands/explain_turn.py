"""``manage.py explain_turn ID``: the history of one turn."""

from __future__ import annotations

import argparse
from typing import Any

from django.core.management.base import CommandError

from common.ids import as_uuid
from copilot.diagnostics.explain import explain
from copilot.management.base import OperatorCommand


class Command(OperatorCommand):
    """Print everything that the rows tell of a turn."""

    help = (
        "Print a turn's history in time order: transitions, steps, tool calls, usage, messages and events. What "
        "people and models said is left out unless --text is given."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("turn", metavar="ID", help="the id of a turn")
        parser.add_argument("--events", action="store_true", help="list every event, not only counts")
        parser.add_argument("--text", action="store_true", help="show what was said, called and returned")

    def handle(self, *args: Any, **options: Any) -> None:
        """Explain, or say in one line why not."""
        turn_id = as_uuid(options["turn"])
        if turn_id is None:
            raise CommandError(f"{options['turn']!r} is not the id of a turn: expected a UUID.")
        lines = explain(turn_id, events=options["events"], text=options["text"])
        if lines is None:
            raise CommandError(f"There is no turn {turn_id}.")
        for line in lines:
            self.stdout.write(line)
