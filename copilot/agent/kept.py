"""What is kept of a step's text: what was shown, and beside it, sealed, what was said where that differs."""

from __future__ import annotations

import logging
from typing import Any

from common.redaction import redact_json
from common.sealing import SealBroken, seal, unseal

logger = logging.getLogger(__name__)

#: What of an item may hold a secret.
_EXACT = ("text", "extra")


def kept(item: dict[str, Any], shown: str) -> dict[str, Any]:
    """Return an item of a step's content as it is stored: no secret can be read in it.

    Args:
        item: text or reasoning as the model gave it.
        shown: what was streamed of its text.
    """
    extra = redact_json(item["extra"]) if item.get("extra") else None
    if shown == item["text"] and not (extra and extra.hidden):
        return item
    stored = {**item, "text": shown, "sealed": seal({name: item[name] for name in _EXACT if name in item})}
    if extra:
        stored["extra"] = extra.shown
    return stored


def exact(item: dict[str, Any]) -> dict[str, Any] | None:
    """Return an item as the model gave it; None where only what was shown of signed reasoning is left.

    Text that cannot be opened any more is returned as it was shown: the model then reads placeholders.
    """
    if not item.get("sealed"):
        return item
    try:
        return {**item, **unseal(item["sealed"])}
    except SealBroken:
        logger.warning("sealed text of a step cannot be read", extra={"action": "seal_broken"})
        return None if item.get("extra") else item
