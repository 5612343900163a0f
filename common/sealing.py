"""Values that only this server can read: exact arguments and results, kept beside what is shown of them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings


class SealBroken(Exception):
    """A sealed value cannot be read: it was sealed with a key that is gone, or it was changed."""


def derived_key(secret: str, label: str) -> bytes:
    """Return 32 bytes for one purpose, from which neither ``secret`` nor another label's bytes can be told."""
    return hmac.digest(secret.encode(), f"holdfast {label}".encode(), "sha256")


def seal(value: Any) -> str:
    """Return a JSON value as a text that tells nothing of it but its length; nothing (None) is ``""``."""
    if value is None:
        return ""
    return _sealer().encrypt(_json(value)).decode()


def unseal(text: str) -> Any:
    """Return what was given to ``seal``, with any of ``SECRET_KEY`` and ``SECRET_KEY_FALLBACKS``.

    Raises:
        SealBroken: none of them fits, or the text was changed.
    """
    if not text:
        return None
    try:
        return json.loads(_sealer().decrypt(text.encode()).decode("utf-8", "surrogatepass"))
    except (InvalidToken, ValueError) as error:
        raise SealBroken("A sealed value cannot be read with this server's SECRET_KEY.") from error


def digest_of_arguments(value: Any) -> str:
    """Return the SHA-256, in hex, of a JSON value: equal for equal values, whatever the order of their keys."""
    return hashlib.sha256(_json(_one_form(value), in_order=True)).hexdigest()


def _one_form(value: Any) -> Any:
    """Return a JSON value with whole numbers as integers: a database may give 1e16 back as either."""
    if isinstance(value, dict):
        return {key: _one_form(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_one_form(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _json(value: Any, *, in_order: bool = False) -> bytes:
    text = json.dumps(value, sort_keys=in_order, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "surrogatepass")


def _sealer() -> MultiFernet:
    return _sealer_of(settings.SECRET_KEY, tuple(settings.SECRET_KEY_FALLBACKS))


@lru_cache(maxsize=8)
def _sealer_of(secret: str, fallbacks: Sequence[str]) -> MultiFernet:
    keys = (derived_key(each, "sealing") for each in (secret, *fallbacks))
    return MultiFernet([Fernet(base64.urlsafe_b64encode(key)) for key in keys])
