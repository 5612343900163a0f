"""``manage.py sweep``: one recovery pass by hand."""

from __future__ import annotations

from typing import Any

from approvals.reach import finish_reaching
from copilot.management.base import OperatorCommand
from copilot.sweep import RULES, sweep

#: For mails and notifications that the pass began: they are sent by this process.
REACH_SECONDS = 30.0


class Command(OperatorCommand):
    """Print what one pass did, a line for each rule that found something."""

    help = (
        "Make one recovery pass over the rows and print what it did. Every server and worker makes one each "
        "second, so this is needed only when none runs. It changes rows and never runs turns itself: with the "
        "embedded server, whose broker is in its own memory, that server's next pass starts what this one queued."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        """Sweep once."""
        done = sweep()
        finish_reaching(REACH_SECONDS)
        meaning = {rule.name: rule.meaning for rule in RULES}
        for name, count in done.items():
            self.stdout.write(f"{name}: {count} ({meaning[name]})")
        if not done:
            self.stdout.write("Nothing to do.")
