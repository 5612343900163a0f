"""What is shown of a text: everything but its secrets.

What is shown, streamed, logged or exported is redacted; what is executed is exact. Redaction replaces values,
never structure: a secret becomes a placeholder, and with the hidden values ``restore`` gives the original back.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from django.conf import settings

from common.known_secrets import known_secrets
from common.redaction_names import is_password_name, is_secret_name
from common.redaction_scan import PLACEHOLDER, Span, scan
from common.redaction_vendors import is_named_after_vendor
from common.sealing import derived_key


@dataclass(frozen=True, slots=True)
class Redacted:
    """A value as it may be shown, and what each of its placeholders stands for."""

    shown: Any
    #: Texts, and numbers beside the name of a secret.
    hidden: dict[str, Any]


class UnknownPlaceholder(ValueError):
    """A placeholder stands for nothing that was hidden."""


def redact_text(text: str) -> str:
    """Return ``text`` with a placeholder for each secret in it; what was redacted before stays as it is."""
    spans, _, _ = scan(text, known_secrets(), final=True)
    return _replaced(text, spans, placeholder_of) if spans else text


def redact_json(value: Any) -> Redacted:
    """Return a JSON value as it may be shown; the structure stays.

    Texts and long numbers beside a secret's name (``{"password": …}``, ``["--password", …]``) are hidden whole,
    and secrets in keys as those in texts. A text that looks like a placeholder is hidden too, so that ``restore``
    gives back exactly what was given.
    """
    hiding = _Hiding()
    return Redacted(hiding.shown(value), hiding.hidden)


def restore(shown: Any, hidden: dict[str, Any]) -> Any:
    """Return ``shown`` with exact values in place of their placeholders.

    Raises:
        UnknownPlaceholder: there is one that ``hidden`` lacks, or two keys of an object would be the same.
    """
    if isinstance(shown, str):
        return _restored(shown, hidden) if "⟦" in shown else shown
    if isinstance(shown, dict):
        exact = {str(_restored(key, hidden)): restore(item, hidden) for key, item in shown.items()}
        if len(exact) < len(shown):
            raise UnknownPlaceholder("Two keys stand for the same one.")
        return exact
    if isinstance(shown, list):
        return [restore(item, hidden) for item in shown]
    return shown


def _restored(text: str, hidden: dict[str, Any]) -> Any:
    if PLACEHOLDER.fullmatch(text):
        return _exact(text, hidden)  # a number stays one
    return PLACEHOLDER.sub(lambda found: words_of(_exact(found.group(), hidden)), text)


def words_of(hidden: Any) -> str:
    """Return a hidden value as it stands inside a text."""
    return hidden if isinstance(hidden, str) else json.dumps(hidden)


def _exact(placeholder: str, hidden: dict[str, Any]) -> Any:
    try:
        return hidden[placeholder]
    except KeyError:
        raise UnknownPlaceholder(f"{placeholder} stands for nothing here.") from None


def placeholder_of(secret: str, again: int = 0) -> str:
    """Return what is shown for a secret: the same for the same one, and telling nothing of it.

    Args:
        again: how many other placeholders of it were taken by other secrets.
    """
    message = secret.encode("utf-8", "surrogatepass") + (b"\x00" * again)
    return f"⟦hidden:{hmac.digest(_placeholder_key(settings.SECRET_KEY), message, 'sha256')[:4].hex()}⟧"


@lru_cache(maxsize=8)
def _placeholder_key(secret_key: str) -> bytes:
    return derived_key(secret_key, "placeholders")


def _replaced(text: str, spans: list[Span], hide: Callable[[str], str]) -> str:
    pieces, at = [], 0
    for begin, end in spans:
        pieces += [text[at:begin], hide(text[begin:end])]
        at = end
    return "".join(pieces) + text[at:]


class _Hiding:
    """Hides the secrets of one value."""

    def __init__(self) -> None:
        self.hidden: dict[str, Any] = {}
        self._known = known_secrets()

    def shown(self, value: Any, *, secret: bool = False) -> Any:
        if isinstance(value, str):
            return self._hide(value) if secret and value else self._text(value)
        if isinstance(value, dict):
            secret_name = _name_of_secret(value)
            return {
                self._text(key): self._beside(secret_name if secret_name and key == "value" else key, item)
                for key, item in value.items()
            }
        if isinstance(value, list):
            return [
                self._beside(before, item) if _is_option(before, item) else self.shown(item, secret=secret)
                for before, item in zip([None, *value], value, strict=False)
            ]
        return value

    def _beside(self, name: str, value: Any) -> Any:
        """Return a value of this name as it may be shown."""
        if _is_secret_number(name, value):
            return self._hide(value)
        secret = is_secret_name(name) or (isinstance(value, str) and is_named_after_vendor(name, value))
        return self.shown(value, secret=secret)

    def _text(self, text: str) -> str:
        spans, _, _ = scan(text, self._known, final=True)
        if "⟦" in text:
            spans = sorted([*spans, *_lookalikes(text, spans)])
        return _replaced(text, spans, self._hide) if spans else text

    def _hide(self, secret: Any) -> str:
        again, words = 0, words_of(secret)
        while True:
            placeholder = placeholder_of(words, again)
            known = self.hidden.setdefault(placeholder, secret)
            if type(known) is type(secret) and known == secret:
                return placeholder
            again += 1


def _name_of_secret(value: dict[str, Any]) -> str:
    """Return the name in a pair such as ``{"name": "DB_PASSWORD", "value": …}``, if it is that of a secret."""
    name = value.get("name", value.get("key"))
    return name if "value" in value and isinstance(name, str) and is_secret_name(name) else ""


def _is_secret_number(name: str, value: Any) -> bool:
    """Whether it is a number that somebody made up as a password, or a long one that is somebody's key."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not is_secret_name(name):
        return False
    return len(str(abs(value))) >= (4 if is_password_name(name) else 8)


def _is_option(name: Any, value: Any) -> bool:
    """Whether the value after this one in a list of arguments is a secret: ``["--password", …]``."""
    if not isinstance(name, str) or not name.startswith("--") or "=" in name:
        return False
    return is_secret_name(name) and not (isinstance(value, str) and value.startswith("-"))


def _lookalikes(text: str, spans: list[Span]) -> Iterator[Span]:
    """Where something that looks like a placeholder stands between what is hidden anyway."""
    ends = [0, *(end for _, end in spans)]
    begins = [*(begin for begin, _ in spans), len(text)]
    for begin, end in zip(ends, begins, strict=True):
        for found in PLACEHOLDER.finditer(text, begin, end):
            yield found.span()
