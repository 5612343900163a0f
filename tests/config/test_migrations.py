"""Changes of the schema that an older version beside this one can live with, while it is being replaced."""

from __future__ import annotations

from collections.abc import Iterator

from django.db.migrations import AddField, Migration
from django.db.migrations.loader import MigrationLoader
from django.db.models import IntegerField

OURS = {"approvals", "chat", "copilot", "linking"}


def refused(migration: Migration) -> Iterator[str]:
    """Yield the columns without which rows of the version before would be refused.

    A default of Django is none of the database.
    """
    for operation in migration.operations:
        if isinstance(operation, AddField) and not (operation.field.null or operation.field.has_db_default()):
            yield f"{migration.name}: {operation.model_name}.{operation.name}"


def test_rows_can_be_written_without_knowing_of_a_new_column() -> None:
    known = MigrationLoader(None, ignore_no_migrations=True).disk_migrations
    later = [known[key] for key in known if key[0] in OURS and not known[key].initial]
    assert later
    assert [column for migration in later for column in refused(migration)] == []


def test_a_column_that_older_versions_cannot_fill_is_noticed() -> None:
    migration = Migration("0009_more", "copilot")
    migration.operations = [
        AddField("turn", "bad", IntegerField(default=1)),
        AddField("turn", "filled", IntegerField(db_default=1)),
        AddField("turn", "empty", IntegerField(null=True)),
    ]
    assert list(refused(migration)) == ["0009_more: turn.bad"]
