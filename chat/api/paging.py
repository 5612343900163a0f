"""Pages of lists: links to the next and the previous one, which stay right while the list changes."""

from __future__ import annotations

import base64
import binascii
import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

from django.db.models import Q
from rest_framework.request import Request

from chat.api.parsing import LIMIT_MAX, number
from common.errors import invalid
from copilot.models import Session
from copilot.models.session import SessionQuerySet
from copilot.selectors import PAGE

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in a list of sessions; ``back`` reads from there towards newer ones."""

    at: datetime
    id: uuid.UUID
    back: bool = False

    @classmethod
    def of(cls, session: Session, *, back: bool = False) -> Cursor:
        """Return the place of ``session``."""
        return cls(session.updated_at, session.id, back)

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
            at, session_id, back = json.loads(decoded)
            return cls(_EPOCH + at * _MICROSECOND, uuid.UUID(hex=session_id), bool(back))
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError, binascii.Error) as error:
            raise invalid({"cursor": "is not one that this list gave out. Begin without it."}) from error


def page_of_sessions(request: Request, sessions: SessionQuerySet) -> tuple[list[Session], str | None, str | None]:
    """Return a page of ``sessions`` (newest activity first) with the links to the next and the previous page."""
    query = request.query_params
    limit = number(query, "limit", default=PAGE, least=1, most=LIMIT_MAX) or PAGE
    raw = query.get("cursor", "")
    cursor = Cursor.parse(raw) if raw else None
    rows = list(_beyond(sessions, cursor)[: limit + 1])
    more, rows = len(rows) > limit, rows[:limit]
    back = cursor is not None and cursor.back
    if back:
        rows.reverse()
    if not rows:
        return [], None, None
    has_next = True if back else more
    has_previous = more if back else cursor is not None
    following = link(request, cursor=Cursor.of(rows[-1]).token()) if has_next else None
    earlier = link(request, cursor=Cursor.of(rows[0], back=True).token()) if has_previous else None
    return rows, following, earlier


def _beyond(sessions: SessionQuerySet, cursor: Cursor | None) -> SessionQuerySet:
    if cursor is None:
        return sessions
    if cursor.back:
        newer = Q(updated_at__gt=cursor.at) | Q(updated_at=cursor.at, id__gt=cursor.id)
        return sessions.filter(newer).order_by("updated_at", "id")
    return sessions.filter(Q(updated_at__lt=cursor.at) | Q(updated_at=cursor.at, id__lt=cursor.id))


def link(request: Request, **changes: Any) -> str:
    """Return the absolute URL of this request with other query parameters; None removes one."""
    query = request.query_params.copy()
    for name, value in changes.items():
        query.pop(name, None)
        if value is not None:
            query[name] = str(value)
    url = request._request.build_absolute_uri(request.path)
    return f"{url}?{query.urlencode()}" if query else url
