"""``manage.py reconcile_usage``: makes the counters of what people used equal their records again."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import Any

from django.core.management.base import CommandError
from django.db.models import QuerySet

from copilot.diagnostics.facts import person_facts
from copilot.management.base import OperatorCommand
from copilot.models import User
from copilot.usage.counters import Amounts
from copilot.usage.tally import reconcile
from copilot.usage.windows import Window

Difference = tuple[Window, Amounts, Amounts]


class Command(OperatorCommand):
    """Print a line for each counter that differed; with ``--check`` exit 1 when there is any."""

    help = (
        "Add up the usage records and the reservations of live turns, print each counter that says something "
        "else, and set it right. May run beside servers and workers. There is never anything to mend unless rows "
        "were changed by hand or restored in part, or processes of a version without counters ran beside."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("--user", metavar="NAME", help="only this person (default: everybody)")
        parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when a counter differs")

    def handle(self, *args: Any, **options: Any) -> None:
        """Compare, mend unless it is a check, and print as it goes."""
        people = _people(options["user"])
        found = 0
        for user_id, differences in _seen(people) if options["check"] else _mended(people):
            for window, counted, actual in differences:
                found += 1
                changes = ", ".join(
                    f"{name} {before} -> {after}"
                    for name, before, after in zip(Amounts._fields, counted, actual, strict=True)
                    if before != after
                )
                self.stdout.write(f"user {user_id}: {window.kind} from {window.starts_on}: {changes}")
        if not found:
            self.stdout.write("All counters equal the records.")
        elif options["check"]:
            self.stderr.write(f"{found} counters differ. Without --check they are set right.")
            sys.exit(1)
        else:
            self.stdout.write(f"{found} counters set right.")


def _people(name: str | None) -> QuerySet[User]:
    if name is None:
        return User.objects.all()
    people = User.objects.filter(username=name)
    if not people.exists():
        raise CommandError(f"There is no user {name!r}.")
    return people


def _seen(people: QuerySet[User]) -> Iterator[tuple[Any, list[Difference]]]:
    for facts in person_facts(people):
        yield facts.user_id, list(facts.tally.differences())


def _mended(people: QuerySet[User]) -> Iterator[tuple[Any, list[Difference]]]:
    for user_id in list(people.order_by("pk").values_list("pk", flat=True)):
        yield user_id, reconcile(user_id)
