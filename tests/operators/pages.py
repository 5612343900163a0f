"""Who looks at the operators' pages, and what they see."""

from __future__ import annotations

import html
import re
from typing import Any

from django.contrib.auth.models import Permission
from django.test import Client

from copilot.models import User
from tests.factories import make_user


def root() -> User:
    """Create somebody who may do everything."""
    user = make_user()
    User.objects.filter(pk=user.pk).update(is_staff=True, is_superuser=True)
    user.refresh_from_db()
    return user


def staff(*permissions: str) -> User:
    """Create a member of the staff with these permissions and no more."""
    user = make_user()
    User.objects.filter(pk=user.pk).update(is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    user.refresh_from_db()
    return user


def logged_in(user: User) -> Client:
    """Return a browser in which somebody is logged in."""
    client = Client()
    client.force_login(user)
    return client


def words(answer: Any) -> str:
    """Return what a page says, in one line, without its markup."""
    found = re.sub(r"<(script|style|svg)\b.*?</\1>", " ", answer.content.decode(), flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", found)).split())
