"""Opening a file for somebody who may read it, wherever it is."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, BinaryIO

from common.errors import NotFound
from common.ids import as_uuid
from copilot.files import clean_name, file_of, open_content
from copilot.media import HEAD, INLINE, TEXT, sniff
from copilot.workspace_files import open_workspace_file


@dataclass(frozen=True, slots=True)
class Opened:
    """An open file; whoever has it closes ``content``."""

    name: str
    media_type: str
    size: int
    content: BinaryIO

    @property
    def inline(self) -> bool:
        """Whether a browser may show it where it is."""
        return self.media_type in INLINE

    @property
    def content_type(self) -> str:
        """Its type, as a header has it."""
        return f"{TEXT}; charset=utf-8" if self.media_type == TEXT else self.media_type


def open_file(user: Any, file_id: str) -> Opened:
    """Open an uploaded file, or one of a workspace.

    Raises:
        NotFound: unknown, somebody else's, or gone.
    """
    if as_uuid(file_id) is None:
        name, content = open_workspace_file(user, file_id)
    else:
        row = file_of(user, file_id)
        name = row.name
        try:
            content = open_content(row.pk)
        except OSError as error:
            raise NotFound("The content of this file is gone.") from error
    # Told by what is there now, also of an upload: what is answered is what was looked at.
    head = content.read(HEAD)
    content.seek(0)
    return Opened(clean_name(name), sniff(head), os.fstat(content.fileno()).st_size, content)
