"""Statements that the database prepares once, and from then on only runs.

Django writes the values into each statement, so PostgreSQL reads and plans it anew each time, which for the short
statements of a turn costs more than running it. What goes through this cursor is sent whole once for each
connection; later only its name and the values are.

A text has no type of its own here: the database takes it from where it stands, and where it cannot tell, the
statement needs a cast. What decides which index serves belongs into the statement, as every constant does: in the
end one plan is made for all values.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

#: Each number of rows or of values in a list makes another statement: those of more are not worth keeping.
MOST_ROWS = 16


def cursor_that_prepares(connection: BaseDatabaseWrapper, rows: int = 1) -> Any:
    """Return a cursor whose statements PostgreSQL prepares; on SQLite, and for many rows, an ordinary one.

    What Django does around a statement stays: errors, broken transactions, wrappers. While it logs or counts
    statements the cursor is an ordinary one, too: of a prepared one it would not know the text.

    Args:
        connection: Django's, of this thread.
        rows: how many rows are inserted, or how many values a list in the statement has.
    """
    if connection.vendor != "postgresql" or rows > MOST_ROWS or connection.queries_logged:
        return connection.cursor()
    wrapper: Any = connection
    wrapper.ensure_connection()
    with wrapper.wrap_database_errors:
        return wrapper._prepare_cursor(_cursor_class()(wrapper.connection))


@functools.cache
def _cursor_class() -> type[Any]:
    import psycopg  # only where the database is PostgreSQL
    from psycopg.types.numeric import Int8

    class PreparingCursor(psycopg.Cursor[Any]):
        """Has each statement prepared."""

        def execute(self, query: Any, params: Any = None, **options: Any) -> Any:
            """Run a statement that is prepared, or is now.

            What was prepared cannot be run when a column it returns has another type since, as when the server is
            upgraded meanwhile: then all of them are forgotten and it is prepared anew. Inside a transaction that
            is for whoever runs the transaction again: rolling back forgets them, too.
            """
            # The driver would choose a number's type by its size, and so make several statements of one.
            values = params and [Int8(value) if type(value) is int else value for value in params]
            try:
                return super().execute(query, values, prepare=True, **options)
            except psycopg.errors.FeatureNotSupported:
                if self.connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
                    raise
            super().execute("DEALLOCATE ALL")
            return super().execute(query, values, prepare=True, **options)

    return PreparingCursor
