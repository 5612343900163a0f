"""Receiving a file from a form: counted, hashed and written while it is read, and gone when it is not kept."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any

from django.core.exceptions import BadRequest, RequestDataTooBig, TooManyFieldsSent, TooManyFilesSent
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler, SkipFile, StopFutureHandlers
from django.http import HttpRequest
from django.http.multipartparser import MultiPartParserError
from django.http.request import UnreadablePostError

from common.bodies import unknown_fields
from common.errors import AppError, Busy, invalid
from copilot.files import Incoming

logger = logging.getLogger(__name__)

FIELD = "file"
_MALFORMED = (
    MultiPartParserError,
    BadRequest,
    RequestDataTooBig,
    TooManyFieldsSent,
    TooManyFilesSent,
    UnreadablePostError,
)


class Upload(UploadedFile):  # type: ignore[type-arg] # it is generic for type checkers only
    """A file of a form. Django closes it at the end of the request: what was not stored by then is removed."""

    def __init__(self, incoming: Incoming, name: str) -> None:
        super().__init__(None, name, size=incoming.size)
        self.incoming = incoming

    def close(self) -> None:
        """Remove the content, unless it was stored."""
        self.incoming.discard()


class UploadHandler(FileUploadHandler):
    """Takes the first file named ``file``; a file that is too large is dropped where it becomes so.

    It has to be in place before anything looks at the form, as the CSRF check does.
    """

    def __init__(self, request: HttpRequest) -> None:
        super().__init__(request)
        #: What is wrong with the file, found while it was read.
        self.problem: AppError | None = None
        self._incoming: Incoming | None = None
        self._name = ""
        self._taken = False

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        """Begin a file, or pass over one that nobody asked for."""
        super().new_file(*args, **kwargs)
        if self.field_name != FIELD or self._taken:
            problem = "one file at a time." if self.field_name == FIELD else "There is no such field here."
            self.problem = self.problem or invalid({str(self.field_name): problem})
            raise SkipFile
        self._taken = True
        self._name = self.file_name or ""
        try:
            self._incoming = Incoming()
        except OSError as error:
            self._fail(error)
            raise SkipFile from error
        raise StopFutureHandlers

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        """Keep more of it."""
        assert self._incoming is not None  # noqa: S101 - begun by new_file
        try:
            self._incoming.write(raw_data)
        except AppError as error:
            self.problem = error
            self._incoming = None
            raise SkipFile from error
        except OSError as error:
            self._fail(error)
            raise SkipFile from error

    def _fail(self, error: OSError) -> None:
        logger.error("upload not stored", extra={"action": "upload_failed", "error": repr(error)})
        self.problem = Busy("The server cannot store files right now. Try again later.")
        self.abandon()

    def file_complete(self, file_size: int) -> Upload | None:
        """Return the whole file."""
        assert self._incoming is not None  # noqa: S101 - as above
        try:
            self._incoming.seal()
        except OSError as error:
            self._fail(error)
            return None
        incoming, self._incoming = self._incoming, None
        return Upload(incoming, self._name)

    def upload_interrupted(self) -> None:
        """Remove what arrived of a file."""
        self.abandon()

    def abandon(self) -> None:
        """Remove a file that has begun and did not end."""
        incoming, self._incoming = self._incoming, None
        if incoming is not None:
            with suppress(OSError):  # as when the disk is full: what is buffered has nowhere to go
                incoming.discard()


def read_upload(request: HttpRequest, handler: UploadHandler) -> tuple[Upload, str | None]:
    """Return the file of a form, and the session that it names.

    Raises:
        Invalid: not a form with one file, or one with other fields (``unknown_field``).
        TooLarge: ``file_too_large``.
    """
    if request.content_type != "multipart/form-data":
        raise invalid({FIELD: "Send the file as multipart/form-data, in a field with this name."})
    try:
        form, files = request.POST, request.FILES
    except _MALFORMED as error:
        raise invalid({FIELD: "The form is malformed, or was cut off. Send the file again."}) from error
    finally:
        handler.abandon()
    if handler.problem is not None:
        raise handler.problem
    if unknown := set(form) - {FIELD, "session", "csrfmiddlewaretoken"}:
        raise unknown_fields(unknown)
    found = files.get(FIELD)
    if not isinstance(found, Upload):
        raise invalid({FIELD: "The form has no file in a field with this name."})
    return found, form.get("session") or None
