"""What a model gets of the files that people send: pictures if it sees them, texts, else an honest note.

In the conversation a file is a note that it is there. Right before a request the newest files are put in the place
of their notes, as many as the model's provider takes. A file that is gone, or is not what it was, stays a note: it
never fails a turn.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from django.template.defaultfilters import filesizeformat

from common.db import db_steady
from common.text import storable
from copilot.agent import prompt
from copilot.files import URL, file_id_of, open_content
from copilot.files import Part as MessagePart
from copilot.media import HEAD, IMAGES, TEXT, sniff
from copilot.models import File
from copilot.pixels import longer_side
from copilot.providers import pricing
from copilot.providers.base import ImagePart, ModelMessage, ModelRequest, Part, TextPart
from copilot.providers.vision import Pictures, pictures_of

#: Characters of one text file, and of all together in a request.
TEXT_MAX = 60_000
TEXTS_MAX = 200_000
#: Tokens of a window that nobody knows.
WINDOW = 128_000


@dataclass(frozen=True, slots=True)
class AttachedFile(TextPart):
    """A file in a user's message; ``text`` is what a model reads in its place while nothing better is there."""

    id: uuid.UUID | None = None
    name: str = ""


def attached_file(part: MessagePart) -> AttachedFile:
    """Return a file part of a message as it stands in the conversation."""
    name = str(part.get("filename") or "file")
    unseen = _note(f"The user attached {prompt.quoted(name)}. It is not shown to you.")
    return AttachedFile(unseen.text, file_id_of(part), name)


async def with_files(request: ModelRequest, model_id: str, session_id: uuid.UUID) -> ModelRequest:
    """Return a request as it is sent to ``model_id``, with what that model gets of the files in it.

    Args:
        model_id: as ``provider/name``.
        session_id: only files of this session are read.
    """
    files = [part for message in request.messages for part in message.parts if isinstance(part, AttachedFile)]
    if not files:
        return request
    rows = await db_steady(_rows, session_id, {part.id for part in files if part.id})
    return replace(request, messages=await asyncio.to_thread(_filled, request.messages, rows, model_id))


def _rows(session_id: uuid.UUID, ids: set[uuid.UUID]) -> dict[uuid.UUID, File]:
    return {file.pk: file for file in File.objects.filter(session=session_id, pk__in=ids)}


def _filled(
    messages: Sequence[ModelMessage], rows: Mapping[uuid.UUID, File], model_id: str
) -> tuple[ModelMessage, ...]:
    """Fill in the files, the newest first: they are what is asked about."""
    # A quarter of the model's window at most, as a token is four characters.
    window = pricing.facts(model_id).context or WINDOW
    filling = _Filling(rows, pictures_of(model_id), min(TEXTS_MAX, window))
    view = [
        replace(message, parts=tuple(filling.parts_of(message)))
        if any(isinstance(part, AttachedFile) for part in message.parts)
        else message
        for message in reversed(messages)
    ]
    return tuple(reversed(view))


class _Filling:
    """Fills in files for as long as the request has room."""

    def __init__(self, rows: Mapping[uuid.UUID, File], pictures: Pictures | None, characters: int) -> None:
        self._rows = rows
        self._pictures = pictures
        self._count = pictures.count if pictures else 0
        self._bytes = pictures.total if pictures else 0
        self._characters = characters

    def parts_of(self, message: ModelMessage) -> list[Part]:
        """Return a message's parts, in order."""
        groups = [
            self._shown(part) if isinstance(part, AttachedFile) else [part] for part in reversed(message.parts)
        ]
        return [part for group in reversed(groups) for part in group]

    def _shown(self, part: AttachedFile) -> list[Part]:
        row = self._rows.get(part.id) if part.id else None
        if row is None:
            return [_gone(part.name)]
        try:
            if row.media_type in IMAGES:
                return self._picture(row)
            if row.media_type == TEXT:
                return self._text(row)
        except OSError:
            return [_gone(row.name)]
        return [_about(row, "You cannot read files of this kind: tell the user so if it matters.")]

    def _picture(self, row: File) -> list[Part]:
        if self._pictures is None:
            return [_about(row, "You cannot see pictures: tell the user so, and do not guess what it shows.")]
        if row.size > self._pictures.each:
            most = _size(self._pictures.each)
            return [_about(row, f"It is too large for you to see: at most {most} are taken. Tell the user so.")]
        if not self._count or row.size > self._bytes:
            return [_about(row, "It is not shown to you any more: newer pictures take all the room.")]
        with open_content(row.pk) as content:
            data = content.read(row.size + 1)
        if len(data) != row.size or sniff(data[:HEAD]) != row.media_type:
            return [_gone(row.name)]
        side = longer_side(data, row.media_type)
        if self._pictures.side and (side or 0) > self._pictures.side:
            most = f"{self._pictures.side:,} pixels a side"
            return [_about(row, f"It is too large for you to see: at most {most} are taken. Tell the user so.")]
        self._count -= 1
        self._bytes -= row.size
        caption = _note(f"The user attached the picture {prompt.quoted(row.name)}:")
        return [caption, ImagePart(row.media_type, data, row.name)]

    def _text(self, row: File) -> list[Part]:
        room = min(TEXT_MAX, self._characters)
        if not room:
            return [_about(row, "Its text is not shown to you any more: newer files take all the room.")]
        with open_content(row.pk) as content:
            raw = content.read(4 * room + 1)  # a character has four bytes at most
        text = storable(raw.decode("utf-8-sig", "replace"))
        shown = text[:room]
        self._characters -= len(shown)
        cut = len(shown) < len(text) or len(raw) > 4 * room
        about = f"Only its first {len(shown):,} characters follow" if cut else "Its text follows"
        begin = _about(row, f"{about}, up to the note that it ends. It is not the user's own words.")
        return [TextPart(f"{begin.text}\n{prompt.escape(shown)}\n{_note('The file ends here.').text}")]


def _about(row: File, what: str) -> TextPart:
    file = f"{prompt.quoted(row.name)} ({row.media_type}, {_size(row.size)}), which they can open at {URL}{row.pk}"
    return _note(f"The user attached {file}. {what}")


def _size(count: int) -> str:
    return filesizeformat(count).replace("\xa0", " ")


def _gone(name: str) -> TextPart:
    return _note(
        f"The user attached {prompt.quoted(name)}, but its content is not there any more. Tell the user so."
    )


def _note(text: str) -> TextPart:
    return TextPart(f"\n\n<{prompt.NOTE}>{text}</{prompt.NOTE}>")
