"""How a receiver knows that a request is ours: the headers and signatures of the Standard Webhooks convention."""

from __future__ import annotations

import base64
import hmac
import secrets
from collections.abc import Iterable

SECRET_PREFIX = "whsec_"  # noqa: S105 - says of what kind a secret is


def new_secret() -> str:
    """Return a secret for signing: ``whsec_`` and 256 random bits in base64."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def signature(secret: str, delivery_id: str, timestamp: str, body: bytes) -> str:
    """Return ``v1,`` and the HMAC-SHA256, in base64, over the id, the timestamp and the raw body."""
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    signed = b".".join([delivery_id.encode(), timestamp.encode(), body])
    return "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()


def headers(known: Iterable[str], delivery_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the headers of one try; it is signed with each of the ``known`` secrets.

    Args:
        timestamp: seconds since 1970, of this try.
    """
    at = str(timestamp)
    return {
        "Content-Type": "application/json",
        "User-Agent": "Holdfast-Webhook",
        "webhook-id": delivery_id,
        "webhook-timestamp": at,
        "webhook-signature": " ".join(signature(secret, delivery_id, at, body) for secret in known),
    }
