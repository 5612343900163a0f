"""Queries that are built once.

Django builds a query anew each time: for the short queries that every turn makes, that costs ten times what the
database takes. A prepared query is written as any other, compiled at its first use on a connection, and from then
on only given its arguments. PostgreSQL prepares it too: see ``common.statements``.

What a prepared query says must depend on its arguments alone: whatever else it reads (a setting, the time of
this host) is read once. An argument is a value to bind; it is never null where a column is compared with it.
"""

from __future__ import annotations

import inspect
import json
import re
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.models import BooleanField, CharField, Expression, Field, IntegerField, Model, QuerySet, TextField
from django.db.models.expressions import DatabaseDefault
from django.db.models.query import FlatValuesListIterable, ModelIterable, get_related_populators
from django.db.models.sql import UpdateQuery

from common.statements import cursor_that_prepares

T = TypeVar("T")
#: The rows to change, and what becomes of each column.
Update = tuple[QuerySet[Any], dict[str, Any]]
Reader = Callable[[Sequence[Any]], Any]


class _Argument(Expression):
    """Stands for an argument while a query is built, and for its place among the values afterwards."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, Any]:
        """Return a place for the argument."""
        return "%s", (self,)


class _Prepared:
    """A statement and its compiled forms; each connection keeps its own."""

    def __init__(self, build: Callable[..., Any]) -> None:
        self._build = build
        self._names = list(inspect.signature(build).parameters)
        self.__doc__ = build.__doc__

    def _compiled(self, connection: Any) -> Any:
        known = vars(connection).setdefault("prepared_queries", {})
        if self not in known:
            known[self] = self._compile(self._build(*map(_Argument, self._names)), connection)
        return known[self]

    def _compile(self, built: Any, connection: Any) -> Any:
        raise NotImplementedError

    def _values(
        self, template: tuple[Any, ...], args: tuple[Any, ...], named: dict[str, Any], connection: Any
    ) -> list[Any]:
        given = {**dict(zip(self._names, args, strict=False)), **named}
        return [
            _adapt(given[value.name], connection) if isinstance(value, _Argument) else value for value in template
        ]


class _Select(_Prepared, Generic[T]):
    def __call__(self, *args: Any, **named: Any) -> list[T]:
        connection = connections[DEFAULT_DB_ALIAS]
        sql, template, read = self._compiled(connection)
        with cursor_that_prepares(connection) as cursor:
            cursor.execute(sql, self._values(template, args, named, connection))
            rows = cursor.fetchall()
        return [read(row) for row in rows]

    def _compile(self, built: QuerySet[Any], connection: Any) -> tuple[str, tuple[Any, ...], Reader]:
        compiler: Any = built.query.get_compiler(connection=connection)
        sql, params = compiler.as_sql()
        return *_constants_written(sql, params, connection), _reader(built, compiler, connection)


class _Update(_Prepared):
    def __call__(self, *args: Any, **named: Any) -> int:
        connection = connections[DEFAULT_DB_ALIAS]
        sql, template = self._compiled(connection)
        with cursor_that_prepares(connection) as cursor:
            cursor.execute(sql, self._values(template, args, named, connection))
            return int(cursor.rowcount)

    def _compile(self, built: Update, connection: Any) -> tuple[str, tuple[Any, ...]]:
        rows, changes = built
        query: Any = rows.query.chain(UpdateQuery)
        query.add_update_values(changes)
        sql, params = query.get_compiler(connection=connection).as_sql()
        return _constants_written(sql, params, connection)


def _constants_written(sql: str, params: Sequence[Any], connection: Any) -> tuple[str, tuple[Any, ...]]:
    """Write what is not an argument into a statement that PostgreSQL prepares.

    Its plan is made once, for any values: only from a constant can it tell that a partial index serves.
    """
    if connection.vendor != "postgresql":
        return sql, tuple(params)
    left = iter(params)
    arguments = []

    def place(match: re.Match[str]) -> str:
        value = next(left) if match[0] == "%s" else None
        if isinstance(value, _Argument):
            arguments.append(value)
        elif match[0] == "%s":
            return str(connection.ops.compose_sql("%s", [value])).replace("%", "%%")
        return match[0]

    return re.sub("%[s%]", place, sql), tuple(arguments)


def _reader(built: QuerySet[Any], compiler: Any, connection: Any) -> Reader:
    """Return what makes an object, a row or a value of what the database returned for one."""
    columns = [column for column, *_ in compiler.select[: compiler.col_count]]
    convert = _converter(compiler.get_converters(columns), connection)
    if built._iterable_class is not ModelIterable:
        flat = issubclass(built._iterable_class, FlatValuesListIterable)
        return (lambda row: convert(row)[0]) if flat else (lambda row: tuple(convert(row)))
    model: type[Model] = compiler.klass_info["model"]
    places = compiler.klass_info["select_fields"]
    names = [columns[place].target.attname for place in places]
    extra = compiler.annotation_col_map or {}
    # From 6.1 on, Django wants to be told how fields that are left out are fetched later.
    mode: Any = [built._fetch_mode] if hasattr(built, "_fetch_mode") else []
    related = get_related_populators(compiler.klass_info, compiler.select, DEFAULT_DB_ALIAS, *mode)

    def read(row: Sequence[Any]) -> Model:
        values = convert(row)
        found = model.from_db(DEFAULT_DB_ALIAS, names, [values[place] for place in places])
        for name, place in extra.items():
            setattr(found, name, values[place])
        for populator in related:
            populator.populate(values, found)
        return found

    return read


def _converter(converters: dict[int, Any], connection: Any) -> Callable[[Sequence[Any]], list[Any]]:
    steps = [(place, each, column) for place, (several, column) in converters.items() for each in several]

    def convert(row: Sequence[Any]) -> list[Any]:
        values = list(row)
        for place, step, column in steps:
            values[place] = step(values[place], column, connection)
        return values

    return convert


def _adapt(value: Any, connection: Any) -> Any:
    """Return ``value`` as the database driver takes it."""
    if isinstance(value, uuid.UUID):
        return value if connection.features.has_native_uuid_field else value.hex
    if isinstance(value, datetime):
        return connection.ops.adapt_datetimefield_value(value)
    if isinstance(value, (dict, list)):
        return json.dumps(value)
    return value


def prepared(build: Callable[..., QuerySet[Any, T]]) -> Callable[..., list[T]]:
    """Prepare the query that the decorated function builds from its arguments.

    Calling it returns the list of what the query finds: objects of the model, or rows where it names values.
    """
    return _Select(build)


def prepared_update(build: Callable[..., Update]) -> Callable[..., int]:
    """Prepare the update that the decorated function describes: the rows, and what each column becomes.

    Calling it returns how many rows were changed.
    """
    return _Update(build)


def insert(*rows: Model) -> None:
    """Insert new objects of one model with one statement, and set on them what the database filled in.

    No signals are sent, and no relations are followed: for the rows that every turn writes. A value may be an
    expression; the object keeps it then.
    """
    connection = connections[DEFAULT_DB_ALIAS]
    table = _table(connection, rows[0])
    values: list[Any] = []
    lists = [f"({', '.join(_places(table, row, connection, values))})" for row in rows]
    with cursor_that_prepares(connection, len(rows)) as cursor:
        cursor.execute(f"{table.head} {', '.join(lists)} {table.tail}", values)
        answers: list[Sequence[Any]] = cursor.fetchall() if table.filled else [()] * len(rows)
    for row, answer in zip(rows, answers, strict=True):
        for name, value in zip(table.filled, table.convert(answer), strict=True):
            setattr(row, name, value)
        row._state.adding = False
        row._state.db = DEFAULT_DB_ALIAS


@dataclass(frozen=True, slots=True)
class _Table:
    """What inserting into a table needs; ``filled`` names what the database fills in."""

    compiler: Any
    #: Each with its attribute, and whether it stores plain values as they are.
    fields: list[tuple[Any, str, bool]]
    filled: tuple[str, ...]
    head: str
    tail: str
    convert: Callable[[Sequence[Any]], list[Any]]


def _table(connection: Any, row: Model) -> _Table:
    filled = tuple(field.attname for field in row._meta.concrete_fields if _is_filled_in(field, row))
    known = vars(connection).setdefault("prepared_queries", {})
    key = (type(row), filled)
    if key not in known:
        known[key] = _describe(connection, *key)
    table: _Table = known[key]
    return table


def _is_filled_in(field: Any, row: Model) -> bool:
    value = getattr(row, field.attname)
    return isinstance(value, DatabaseDefault) or (field.primary_key and value is None)


def _describe(connection: Any, model: type[Model], filled: tuple[str, ...]) -> _Table:
    quote = connection.ops.quote_name
    fields: list[Any] = [field for field in model._meta.concrete_fields if field.attname not in filled]
    returned: list[Any] = [field for field in model._meta.concrete_fields if field.attname in filled]
    compiler: Any = model._default_manager.none().query.get_compiler(connection=connection)
    converters = compiler.get_converters([field.get_col(model._meta.db_table) for field in returned])
    columns = ", ".join(quote(field.column) for field in fields)
    return _Table(
        compiler=compiler,
        fields=[(field, field.attname, _stores_as_is(field)) for field in fields],
        filled=tuple(field.attname for field in returned),
        head=f"INSERT INTO {quote(model._meta.db_table)} ({columns}) VALUES",
        tail=f"RETURNING {', '.join(quote(field.column) for field in returned)}" if returned else "",
        convert=_converter(converters, connection),
    )


#: Fields that store plain values as they are, and those values. What is derived from one, as a choice is, goes the
#: long way.
_PLAIN_FIELDS = (BooleanField, CharField, IntegerField, TextField)
_PLAIN_VALUES = frozenset({bool, int, str, type(None)})


def _stores_as_is(field: Any) -> bool:
    return isinstance(field, _PLAIN_FIELDS) and type(field).pre_save is Field.pre_save


def _places(table: _Table, row: Model, connection: Any, values: list[Any]) -> list[str]:
    """Return the places of a row's values in the statement, and add to ``values`` what is put there."""
    places = []
    for field, name, stores_as_is in table.fields:
        value = getattr(row, name)
        place = "%s"
        if stores_as_is and type(value) in _PLAIN_VALUES:
            values.append(value)
        else:
            place, some = _value(table, field, row, connection)
            values += some
        places.append(place)
    return places


def _value(table: _Table, field: Any, row: Model, connection: Any) -> tuple[str, Sequence[Any]]:
    """Return the place of a value in the statement, and what is put there."""
    value = field.pre_save(row, True)
    if not hasattr(value, "resolve_expression"):
        return "%s", (field.get_db_prep_save(value, connection),)
    resolved = value.resolve_expression(table.compiler.query, allow_joins=False, for_save=True)
    place, values = table.compiler.compile(resolved)
    return place, values
