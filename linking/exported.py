"""What people get of their data here: their keys and links, without anything by which one could act as them."""

from __future__ import annotations

from typing import Any

from copilot.export.tables import Table, rows_of
from copilot.models import User
from linking.models import PersonalKey, ServerLink, Thread, UserLink

_LINK = ("id", "bot__name", "bot__platform", "platform_id", "platform_name", "asked_by", "asked_by_name")


def tables_of_person(sender: object, *, user: User, **kwargs: Any) -> list[Table]:
    """Return the tables (a receiver of ``exporting``)."""
    keys = PersonalKey.objects.filter(user=user)
    servers, people = ServerLink.objects.filter(owner=user), UserLink.objects.filter(owner=user)
    threads = Thread.objects.filter(session__user=user)
    about_keys = ("id", "label", "scopes", "prefix", "created_at", "last_used_at", "revoked_at")
    return [
        Table("keys.jsonl", PersonalKey, rows_of(keys, *about_keys)),
        Table("server_links.jsonl", ServerLink, rows_of(servers, *_LINK, "allows_personal", "created_at")),
        Table("user_links.jsonl", UserLink, rows_of(people, *_LINK, "created_at")),
        Table("threads.jsonl", Thread, rows_of(threads, "id", "session_id", "thread_id", "created_at")),
    ]
