"""What people decide about themselves."""

from __future__ import annotations

import functools
import zoneinfo

from common.db import transact
from common.errors import invalid
from common.usertext import check_user_text
from copilot.models import User

INSTRUCTIONS_MAX = 20_000


@transact
def change_person(user: User, *, instructions: str | None = None, time_zone: str | None = None) -> None:
    """Change what is given; an empty text takes back what was set. Turns that are accepted from now on see it.

    Raises:
        Invalid: a time zone that the time zone database does not have; a text that is refused
            (``refused_text``).
    """
    changed = []
    if time_zone is not None:
        if time_zone and not is_time_zone(time_zone):
            shown = time_zone[:100]
            raise invalid({"timezone": f"{shown!r} is not a time zone. Use a name such as Europe/Paris."})
        user.time_zone = time_zone
        changed.append("time_zone")
    if instructions is not None:
        user.instructions = check_user_text(instructions, what="The text", most=INSTRUCTIONS_MAX)
        changed.append("instructions")
    if changed:
        user.save(update_fields=changed)


def is_time_zone(name: str) -> bool:
    """Whether it is a name of the time zone database."""
    return name in _time_zones()


@functools.cache
def _time_zones() -> frozenset[str]:
    """The names of all zones; finding them means walking a directory tree."""
    return frozenset(zoneinfo.available_timezones())
