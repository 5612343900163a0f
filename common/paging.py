"""Pages of lists: links to the next and the previous one, which stay right while the list changes."""

from __future__ import annotations

import base64
import binascii
import json
import re
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

from django.db.models import DateTimeField, Func, Model, Q, QuerySet, Value
from django.db.models.functions import Now
from django.http import HttpRequest, QueryDict
from rest_framework.request import Request

from common.errors import invalid

T = TypeVar("T", bound=Model)

#: Rows a page, unless the caller asks for another number; and the most that one may ask for.
PAGE = 50
LIMIT_MAX = 100
#: The largest whole number that a query parameter may be: that of a ``seq``.
NUMBER_MAX = 2**31 - 1

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in a list, by a row's time and id; ``back`` reads from there towards newer ones."""

    at: datetime
    id: uuid.UUID
    back: bool = False

    def token(self) -> str:
        """Return the cursor as it stands in a link."""
        parts = [(self.at - _EPOCH) // _MICROSECOND, self.id.hex, int(self.back)]
        return base64.urlsafe_b64encode(json.dumps(parts, separators=(",", ":")).encode()).decode().rstrip("=")

    @classmethod
    def parse(cls, raw: str) -> Cursor:
        """Read a token, or a whole link that holds one.

        Raises:
            Invalid: it is neither.
        """
        token = parse_qs(urlsplit(raw).query).get("cursor", [""])[0] if "cursor=" in raw else raw
        try:
            decoded = base64.urlsafe_b64decode(token[:400] + "=" * (-len(token) % 4))
            at, row_id, back = json.loads(decoded)
            return cls(_EPOCH + at * _MICROSECOND, uuid.UUID(hex=row_id), bool(back))
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError, binascii.Error) as error:
            raise invalid({"cursor": "is not one that this list gave out. Begin without it."}) from error


def page_of(
    request: Request | HttpRequest, rows: QuerySet[T], *, by: str
) -> tuple[list[T], str | None, str | None]:
    """Return a page of ``rows`` with the links to the next and the previous page, as ``cursor`` and ``limit`` of
    the request have it.

    Args:
        rows: newest first: by the time in the column ``by``, then by id.

    Raises:
        Invalid: a cursor or a limit that is none.
    """
    query = request.GET
    limit = number(query, "limit", default=PAGE, least=1, most=LIMIT_MAX) or PAGE
    raw = query.get("cursor", "")
    cursor = Cursor.parse(raw) if raw else None
    found = list(_beyond(rows, cursor, by)[: limit + 1])
    more, found = len(found) > limit, found[:limit]
    back = cursor is not None and cursor.back
    if back:
        found.reverse()
    if not found:
        return [], None, None
    has_next = True if back else more
    has_previous = more if back else cursor is not None
    last = Cursor(getattr(found[-1], by), found[-1].pk)
    first = Cursor(getattr(found[0], by), found[0].pk, back=True)
    following = link(request, cursor=last.token()) if has_next else None
    earlier = link(request, cursor=first.token()) if has_previous else None
    return found, following, earlier


def _beyond(rows: QuerySet[T], cursor: Cursor | None, by: str) -> QuerySet[T]:
    if cursor is None:
        return rows
    at: Any = cursor.at
    if isinstance(getattr(rows.model._meta.get_field(by), "db_default", None), Now):
        at = _OfTheClock(Value(cursor.at), output_field=DateTimeField())
    if cursor.back:
        newer = Q(**{f"{by}__gt": at}) | Q(**{by: at, "id__gt": cursor.id})
        return rows.filter(newer).order_by(by, "id")
    return rows.filter(Q(**{f"{by}__lt": at}) | Q(**{by: at, "id__lt": cursor.id}))


class _OfTheClock(Func):
    """A moment as the database's clock writes it: SQLite compares texts, and its clock has three digits."""

    template = "%(expressions)s"

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """Write it as ``Now`` is written."""
        template = "STRFTIME('%%%%Y-%%%%m-%%%%d %%%%H:%%%%M:%%%%f', %(expressions)s)"
        return self.as_sql(compiler, connection, template=template, **context)


def link(request: Request | HttpRequest, **changes: Any) -> str:
    """Return the absolute URL of this request with other query parameters; None removes one."""
    query = request.GET.copy()
    for name, value in changes.items():
        query.pop(name, None)
        if value is not None:
            query[name] = str(value)
    url = request.build_absolute_uri(request.path)
    return f"{url}?{query.urlencode()}" if query else url


def number(
    query: QueryDict, name: str, *, default: int | None = None, least: int = 0, most: int = NUMBER_MAX
) -> int | None:
    """Return a whole number from the query string.

    Raises:
        Invalid: not a number, or not within ``least`` and ``most``.
    """
    raw = query.get(name, "")
    if raw == "":
        return default
    # The length first: converting thousands of digits is slow and then refused by Python itself.
    if not re.fullmatch(r"[0-9]{1,12}", raw) or not least <= int(raw) <= most:
        raise invalid({name: f"must be a whole number from {least} to {most}."})
    return int(raw)
