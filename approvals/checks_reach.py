"""System checks of what tells people that a decision waits."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register

from approvals.reach import webpush
from common.checks import TAG


@register(TAG)
def check_vapid(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """The keys of web push are all there and belong together, or none is there."""
    problem = _vapid_problem()
    if not problem:
        return []
    hint = "Set what `manage.py make_vapid_keys` prints and VAPID_SUBJECT, or unset all three."
    return [Error(problem, hint=hint, id="holdfast.E008")]


def _vapid_problem() -> str:
    private, public, subject = settings.VAPID_PRIVATE_KEY, settings.VAPID_PUBLIC_KEY, settings.VAPID_SUBJECT
    if not private:
        named = " and ".join(name for name in ("VAPID_PUBLIC_KEY", "VAPID_SUBJECT") if getattr(settings, name))
        return f"{named} is set without VAPID_PRIVATE_KEY." if named else ""
    try:
        derived = webpush.public_key()
    except ValueError:
        return "VAPID_PRIVATE_KEY is not a key: 32 bytes in base64url."
    if public and public.rstrip("=") != derived:
        return "VAPID_PUBLIC_KEY is not the public key of VAPID_PRIVATE_KEY."
    if not subject.startswith(("mailto:", "https://")):
        return "VAPID_SUBJECT must tell push services whom to write to: mailto:you@example.org."
    return ""


@register(TAG)
def check_links(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """What people are sent leads to a place that they can open."""
    if settings.BASE_URL or settings.EMBEDDED or not settings.EMAIL_ENABLED:
        return []
    return [
        Warning(
            "EMAIL_URL is set without BASE_URL: the links in mails lead to this host only.",
            hint="Set BASE_URL to the address at which people open the pages.",
            id="holdfast.W003",
        )
    ]
