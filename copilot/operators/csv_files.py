"""Tables to download, as RFC 4180 has them."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from itertools import islice

from django.http import StreamingHttpResponse

Cell = str | int

#: A spreadsheet takes a text that begins so for a formula, and runs it.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
_ROWS_AT_ONCE = 500


def csv_response(name: str, header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> StreamingHttpResponse:
    """Answer with a table as a file called ``name``. The rows are here: only their text is made on the way.

    A text that a spreadsheet would run as a formula gets an apostrophe before it, with which it is shown as text.
    """
    return StreamingHttpResponse(
        _pieces(header, rows),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"', "X-Content-Type-Options": "nosniff"},
    )


async def _pieces(header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> AsyncIterator[bytes]:
    yield _text([header]).encode()
    remaining = iter(rows)
    while some := list(islice(remaining, _ROWS_AT_ONCE)):
        yield _text(some).encode()


def _text(rows: Iterable[Sequence[Cell]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(map(_harmless, rows))
    return text.getvalue()


def _harmless(row: Sequence[Cell]) -> Iterator[Cell]:
    for cell in row:
        yield f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell
