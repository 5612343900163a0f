"""Statements that PostgreSQL prepares behave as any other, also when a table changes under them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.db import DataError, IntegrityError, NotSupportedError, connection, transaction
from django.db.models import QuerySet
from django.db.transaction import TransactionManagementError

from common.db import transact
from common.prepared import prepared
from common.statements import MOST_ROWS, cursor_that_prepares
from copilot.models import Session
from tests.factories import make_session

TITLE = "100% of 'it', %s and %%"


@prepared
def sessions_called(title: Any) -> QuerySet[Session, Any]:
    return Session.objects.filter(title=title).values_list("id", flat=True)


@prepared
def well_named(least: Any) -> QuerySet[Session, Any]:
    return Session.objects.filter(title=TITLE, accepted__lte=least).values_list("id", flat=True)


@pytest.mark.django_db
def test_constants_are_taken_as_they_are() -> None:
    make_session()
    named = make_session()
    Session.objects.filter(pk=named.pk).update(title=TITLE)
    assert well_named(10) == [named.pk]
    assert sessions_called(TITLE) == [named.pk]


@pytest.mark.django_db
def test_a_number_larger_than_a_column_holds_can_be_compared_with_it() -> None:
    named = make_session()
    Session.objects.filter(pk=named.pk).update(title=TITLE)
    assert well_named(2**40) == [named.pk]


@pytest.fixture
def table(transactional_db: None) -> Iterator[str]:
    """A table of two rows that a test may change."""
    run("CREATE TABLE statement_probe (id integer PRIMARY KEY, said varchar(5))")
    run("INSERT INTO statement_probe VALUES (1, 'one'), (2, 'two')")
    yield "statement_probe"
    run("DROP TABLE statement_probe")


@pytest.mark.scaled
def test_a_statement_is_prepared_once_whatever_the_size_of_its_numbers(table: str) -> None:
    found = [said(number) for number in (1, 2, 70_000, 2**40, -1)]
    assert found == [["one"], ["two"], [], [], []]
    assert known() == 1


@pytest.mark.scaled
@pytest.mark.parametrize(("rows", "prepared"), [(MOST_ROWS, 1), (MOST_ROWS + 1, 0)], ids=["few", "many"])
def test_what_has_many_rows_is_not_prepared(table: str, rows: int, prepared: int) -> None:
    with cursor_that_prepares(connection, rows) as cursor:
        places = ", ".join(["%s"] * rows)
        cursor.execute(f"SELECT said FROM statement_probe WHERE id IN ({places})", list(range(rows)))
    assert known() == prepared


@pytest.mark.scaled
@pytest.mark.django_db
def test_only_arguments_are_left_open() -> None:
    well_named(1)
    with connection.cursor() as cursor:
        cursor.execute("SELECT parameter_types::text FROM pg_prepared_statements WHERE statement LIKE '%100%%'")
        assert cursor.fetchall() == [("{bigint}",)]


@pytest.mark.scaled
def test_a_changed_column_is_read_after_all(table: str) -> None:
    assert said(1) == ["one"]
    widen()
    assert said(1) == ["one"]
    assert said(2) == ["two"]


@pytest.mark.scaled
def test_the_driver_alone_would_fail_at_a_changed_column(table: str) -> None:
    connection.ensure_connection()
    cursor = psycopg.Cursor(connection.connection)
    for _ in range(2):
        cursor.execute("SELECT said FROM statement_probe WHERE id = %s", [1], prepare=True)
    widen()
    with pytest.raises(psycopg.errors.FeatureNotSupported):
        cursor.execute("SELECT said FROM statement_probe WHERE id = %s", [1], prepare=True)


@pytest.mark.scaled
def test_a_transaction_that_meets_a_changed_column_runs_again(table: str) -> None:
    runs = []

    @transact
    def read() -> list[str]:
        runs.append(1)
        return said(1)

    assert read() == ["one"]
    widen()
    assert read() == ["one"]
    assert len(runs) == 3


@pytest.mark.scaled
def test_a_transaction_without_a_second_try_fails_once(table: str) -> None:
    said(1)
    widen()
    with pytest.raises(NotSupportedError), transaction.atomic():
        said(1)
    with transaction.atomic():
        assert said(1) == ["one"]


@pytest.mark.scaled
def test_statements_are_counted_and_logged_as_all_are(table: str, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(2) as logged:
        said(1)
        said(2)
    assert [query["sql"].rpartition(" = ")[2] for query in logged.captured_queries] == ["1", "2"]


@pytest.mark.scaled
def test_what_wraps_statements_sees_them(table: str) -> None:
    seen = []

    def watch(execute: Any, sql: Any, params: Any, many: Any, context: Any) -> Any:
        seen.append(params)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(watch):
        said(1)
        said(2)
    assert seen == [[1], [2]]
    assert known() == 1


@pytest.mark.scaled
def test_errors_are_those_of_django_and_break_the_transaction(table: str) -> None:
    with pytest.raises(IntegrityError):
        write(1, "again")
    with pytest.raises(DataError):
        write(3, "too long for it")
    with transaction.atomic():
        transaction.set_rollback(True)
        with pytest.raises(TransactionManagementError):
            said(1)
    assert said(1) == ["one"]


def said(number: int) -> list[str]:
    with cursor_that_prepares(connection) as cursor:
        cursor.execute("SELECT said FROM statement_probe WHERE id = %s", [number])
        return [text for (text,) in cursor.fetchall()]


def write(number: int, text: str) -> None:
    with cursor_that_prepares(connection) as cursor:
        cursor.execute("INSERT INTO statement_probe VALUES (%s, %s)", [number, text])


def run(sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)


def widen() -> None:
    """Change the table from another connection: another host is being upgraded."""
    settings = connection.get_connection_params()
    names = {"dbname", "user", "password", "host", "port"}
    with psycopg.connect(**{name: settings[name] for name in names & settings.keys()}) as other:
        other.execute("ALTER TABLE statement_probe ALTER COLUMN said TYPE varchar(20)")


def known() -> int:
    """Return how many statements about the table this connection has prepared."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%statement_probe%'")
        return int(cursor.fetchone()[0])
