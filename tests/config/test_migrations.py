"""While a new version is rolled out, processes of the old one go on working with the tables of the new one."""

from __future__ import annotations

import pytest
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations import AddField
from django.db.models import NOT_PROVIDED

OURS = ("approvals", "copilot", "linking")


def added_columns() -> list[tuple[str, AddField]]:
    loader = MigrationLoader(None)
    return [
        (f"{app}.{name}.{operation.model_name}.{operation.name}", operation)
        for (app, name), migration in loader.disk_migrations.items()
        if app in OURS
        for operation in migration.operations
        if isinstance(operation, AddField)
    ]


@pytest.mark.parametrize(("name", "added"), added_columns())
def test_a_new_column_can_be_left_out_by_who_does_not_know_it(name: str, added: AddField) -> None:
    field = added.field
    assert field.null or field.many_to_many or field.db_default is not NOT_PROVIDED, f"{name} needs a db_default"
