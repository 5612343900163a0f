"""Everything of one person in a zip: a file of JSON lines for each kind of row, the contents of their files, and a
manifest that says what is in it and what is not."""

from __future__ import annotations

import json
from typing import Any, BinaryIO
from zipfile import ZIP_DEFLATED, ZipFile

from django.core.serializers.json import DjangoJSONEncoder
from django.utils import timezone

from common.version import VERSION
from copilot.export.contents import write_contents
from copilot.export.tables import Table, tables_of
from copilot.models import User

#: Grows when the files of an export, or their columns, change in a way that a reader has to know.
FORMAT = 1
MANIFEST = "manifest.json"


def write_export(user: User, out: BinaryIO) -> dict[str, Any]:
    """Write a person's data to ``out`` and return the manifest. Memory does not grow with how much there is.

    What changes meanwhile may be in it or not.
    """
    with ZipFile(out, "w", ZIP_DEFLATED) as archive:
        counts = {table.path: _write(archive, table) for table in tables_of(user)}
        contents = write_contents(archive, user)
        manifest = {
            "format": FORMAT,
            "holdfast": VERSION,
            "made_at": timezone.now(),
            "user": str(user.pk),
            "rows": counts,
            "files": {"count": contents.count, "bytes": contents.total},
            "left_out": contents.left_out,
        }
        archive.writestr(MANIFEST, json.dumps(manifest, cls=DjangoJSONEncoder, indent=2, ensure_ascii=False))
    return manifest


def _write(archive: ZipFile, table: Table) -> int:
    encoder = DjangoJSONEncoder(ensure_ascii=False, separators=(",", ":"))
    count = 0
    with archive.open(table.path, "w", force_zip64=True) as target:  # how long it gets nobody knows yet
        for row in table.rows:
            target.write(encoder.encode(row).encode("utf-8", "replace") + b"\n")
            count += 1
    return count
