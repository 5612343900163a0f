"""What the API document lists, as schemathesis sees it."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import schemathesis
from django.core.asgi import get_asgi_application
from drf_spectacular.generators import SchemaGenerator

#: Operations that answer as long as something happens.
STREAMS = "streams"


@cache
def document() -> dict[str, Any]:
    """Return the API document as clients get it."""
    made = SchemaGenerator().get_schema(request=None, public=True)
    read: dict[str, Any] = json.loads(json.dumps(made))
    return read


def operations(described: dict[str, Any]) -> dict[str, Any]:
    """Return every operation of a document that ends by itself, by its name.

    Nothing sends keys of its own: who asks is said with each request.
    """
    options = {"generation": {"with-security-parameters": False}, "seed": 1}
    schema = schemathesis.openapi.from_dict(described, config=schemathesis.Config.from_dict(options))
    schema.app = application()
    found = (each.ok() for each in schema.get_all_operations())
    return {each.definition.raw["operationId"]: each for each in found if STREAMS not in (each.tags or ())}


@cache
def application() -> Any:
    """Return what answers."""
    return get_asgi_application()
