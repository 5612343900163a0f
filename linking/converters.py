"""What a token looks like in a path. Anything else is no path of ours: 404, before a row is read."""

from __future__ import annotations

from django.urls.converters import StringConverter


class LinkTokenConverter(StringConverter):
    """1 to 64 characters of base64url."""

    regex = "[A-Za-z0-9_-]{1,64}"
