"""What every page says of links: that there are new ones."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from linking.links import new_links_of


def around_pages(request: HttpRequest) -> dict[str, Any]:
    """Give templates the person's new links (a context processor); read only where shown."""
    return {"new_links": SimpleLazyObject(lambda: _new_links(request.user))}


def _new_links(user: Any) -> list[dict[str, Any]]:
    return new_links_of(user) if user.is_authenticated else []
