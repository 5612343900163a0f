"""Telling people by mail."""

from __future__ import annotations

import logging
import smtplib

from django.conf import settings
from django.core.mail import EmailMessage

from approvals.models import Action
from approvals.reach import words
from common.db import release_connections

logger = logging.getLogger(__name__)


def is_on() -> bool:
    """Whether mail can be sent at all."""
    return bool(settings.EMAIL_ENABLED)


def send_mail(action: Action) -> bool:
    """Mail the person whose action it is; False when they have no address, or the mail was not taken."""
    user = action.user
    if not (is_on() and user.is_active and user.email):
        return False
    message = EmailMessage(
        subject=words.title(action),
        body=words.text(action),
        to=[user.email],
        # No answering machine is to answer this.
        headers={"Auto-Submitted": "auto-generated"},
    )
    release_connections()
    try:
        return message.send() == 1
    except (smtplib.SMTPException, OSError, ValueError) as error:
        logger.warning("mail not sent", extra={"action": "mail_failed", "error": type(error).__name__})
        return False
