"""Telling the owner that something was linked to their account, by mail; the pages tell it too."""

from __future__ import annotations

import logging
import smtplib
from uuid import UUID

from django.conf import settings
from django.core.mail import EmailMessage
from django.urls import reverse

from approvals.reach.messenger import Messenger
from common.addresses import site_address
from common.db import release_connections
from linking.links import model_of
from linking.models import Link
from linking.models.links import LinkKind

logger = logging.getLogger(__name__)


def tell_owner(link_id: UUID, kind: LinkKind) -> None:
    """Have the owner mailed, soon and from another thread; nothing happens where no mail can be sent."""
    if settings.EMAIL_ENABLED:
        _messengers[kind].hand_over(link_id)


def drain(seconds: float) -> bool:
    """Wait until nobody is left to be told; False when that took longer than ``seconds``."""
    return all(messenger.drain(seconds) for messenger in _messengers.values())


def send_mail(link: Link) -> bool:
    """Mail the owner of a link; False when they have no address, or the mail was not taken."""
    owner = link.owner
    if not (settings.EMAIL_ENABLED and owner.is_active and owner.email):
        return False
    message = EmailMessage(
        subject=f"Linked to your account: {_what(link)}",
        body=_text(link),
        to=[owner.email],
        headers={"Auto-Submitted": "auto-generated"},  # no answering machine is to answer this
    )
    release_connections()
    try:
        return message.send() == 1
    except (smtplib.SMTPException, OSError, ValueError) as error:
        logger.warning("mail not sent", extra={"action": "mail_failed", "error": type(error).__name__})
        return False


def _what(link: Link) -> str:
    place = "a server" if link.kind is LinkKind.SERVER else "private messages"
    return f"{link.platform_name or place} on {link.bot.platform}"


def _text(link: Link) -> str:
    account = link.owner.get_username()
    who = link.asked_by_name or "Somebody"
    if link.kind is LinkKind.SERVER:
        means = "Everybody there can now chat with the agents, and what they use counts as yours."
    else:
        means = "What is written there is now written in your name, and what it uses counts as yours."
    lines = [
        f"{_what(link)} was linked to your account {account}.",
        f"{who} asked the bot {link.bot.name} for it.",
        "",
        means,
        "",
        "If this was not you, remove the link here:",
        site_address() + reverse("links"),
    ]
    return "\n".join(lines) + "\n"


def _tell(kind: LinkKind, link_id: UUID) -> None:
    link = model_of(kind)._default_manager.select_related("bot", "owner").filter(pk=link_id).first()
    if link is not None:
        send_mail(link)


_messengers = {
    LinkKind.SERVER: Messenger(lambda link_id: _tell(LinkKind.SERVER, link_id)),
    LinkKind.USER: Messenger(lambda link_id: _tell(LinkKind.USER, link_id)),
}
