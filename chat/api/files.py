"""Files: uploading, listing and reading them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import IO, Any

from django.http import HttpRequest, StreamingHttpResponse
from django.utils.http import content_disposition_header
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from chat.api.parsing import words
from chat.api.uploads import UploadHandler, read_upload
from common.apidocs import FileContent, created, errors, found, parameter
from common.auth import Caller, api_view_async
from common.db import db
from common.rest import ApiView, caller_of
from copilot import components, objects, selectors
from copilot.examples import FILE, WORKSPACE_FILE
from copilot.files import store_file, uploads_of
from copilot.opening import Opened, open_file
from copilot.workspace_files import list_workspace

PIECE = 256 * 1024
#: What a file may do on our origin: nothing.
HEADERS = {
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "private, no-cache",
}


class FilesView(ApiView):
    """The caller's files."""

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:
        """Have files received by our handler, before the CSRF check reads the form."""
        self._handler = UploadHandler(request)
        request.upload_handlers = [self._handler]
        return super().initialize_request(request, *args, **kwargs)

    @extend_schema(
        operation_id="list_files",
        summary="List files",
        description="Of a session: what was uploaded for it, newest first, and what its tools left in its "
        "workspace, by path. Without `session`: all that the caller uploaded. At most 500 of each.",
        parameters=[parameter("session", OpenApiTypes.UUID, "Only of this session.")],  # type: ignore[arg-type]
        responses=found(components.File(many=True), [FILE, WORKSPACE_FILE]) | errors("invalid", "not_found"),
    )
    def get(self, request: Request) -> Response:
        """Answer with all of them."""
        user = caller_of(request).user
        wanted = words(request.query_params, "session")
        session = selectors.session_of(user, wanted) if wanted else None
        rows = [objects.file_object(file) for file in uploads_of(user, session)]
        if session is not None:
            rows += [objects.workspace_file_object(file, session.pk) for file in list_workspace(session.pk)]
        return Response(rows)

    @extend_schema(
        operation_id="upload_file",
        summary="Upload a file",
        description="A form with one `file` of at most 20 MiB. Its type is read from its bytes, whatever the form "
        "says. It belongs to `session`, or to the first session that it is sent in (`attachments`); one that is "
        "sent nowhere is deleted after a day.",
        request={
            "multipart/form-data": inline_serializer(
                "UploadBody",
                {"file": FileContent(), "session": serializers.UUIDField(required=False)},
            )
        },
        responses=created(components.File, FILE)
        | errors("invalid", "unknown_field", "refused_text", "not_found", "file_too_large", unsafe=True),
    )
    def post(self, request: Request) -> Response:
        """Keep it."""
        upload, session_id = read_upload(request._request, self._handler)
        file = store_file(
            user=caller_of(request).user,
            name=upload.name or "",
            incoming=upload.incoming,
            session_id=session_id,
        )
        return Response(objects.file_object(file), status=201)


@api_view_async()
async def file_view(request: HttpRequest, file_id: str, *, caller: Caller) -> StreamingHttpResponse:
    """Answer with a file's content, piece by piece."""
    opened: Opened = await db(open_file, caller.user, file_id)
    headers = {
        **HEADERS,
        "Content-Length": str(opened.size),
        "Content-Disposition": content_disposition_header(not opened.inline, opened.name) or "attachment",
    }
    return StreamingHttpResponse(
        Pieces(opened.content, opened.size), content_type=opened.content_type, headers=headers
    )


class Pieces:
    """At most ``size`` bytes of a file: one in a workspace may grow meanwhile."""

    def __init__(self, content: IO[bytes], size: int) -> None:
        self._content = content
        self._left = size

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while self._left > 0 and (piece := await asyncio.to_thread(self._content.read, min(PIECE, self._left))):
            self._left -= len(piece)
            yield piece

    def close(self) -> None:
        """Close the file; Django does with the response, also when nobody reads it."""
        self._content.close()
