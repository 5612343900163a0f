"""What every REST view here shares."""

from __future__ import annotations

from typing import Any

from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from common.auth import Caller, HasScope, caller_of
from common.bodies import Body, read_body


class ApiView(APIView):
    """A view for people and personal keys with the scope ``chat``."""

    permission_classes: list[type[BasePermission]] = [HasScope]
    scope = "chat"

    def body(self, request: Request, body: type[Body], *, partial: bool = False) -> dict[str, Any]:
        """Read the request's body; it is read from the stream, so that its size is bounded."""
        return read_body(body, request._request, partial=partial)


def origin_of(caller: Caller) -> str:
    """Return where a message of this caller comes from: a page, or something that holds a key."""
    return "web" if caller.scopes is None else "key"


def surface_of(caller: Caller) -> str:
    """Return where this caller decides, as the audit log names it."""
    return "web" if caller.scopes is None else "api"


__all__ = ["ApiView", "caller_of", "origin_of", "surface_of"]
