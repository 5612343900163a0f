"""People: finding one, and what they decide about themselves."""

from __future__ import annotations

import functools
import zoneinfo

from common.db import transact
from common.errors import NotFound, invalid
from common.ids import as_uuid
from common.text import storable
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


def find_person(wanted: str) -> User:
    """Return the person with this id, this name, or else this address of mail, whatever its case.

    Raises:
        NotFound: nobody has it; or several have the address, which then names none of them.
    """
    wanted = storable(wanted).strip()
    if (pk := as_uuid(wanted)) is not None and (found := User.objects.filter(pk=pk).first()):
        return found
    if found := User.objects.filter(username=wanted).first():
        return found
    by_mail = list(User.objects.filter(email__iexact=wanted)[:2]) if "@" in wanted else []
    if len(by_mail) > 1:
        raise NotFound(
            f"Several people have the address {wanted[:254]!r}. Use the name of one of them, or the id."
        )
    if not by_mail:
        raise NotFound(f"There is nobody with the id, name or address {wanted[:254]!r}.")
    return by_mail[0]


def is_time_zone(name: str) -> bool:
    """Whether it is a name of the time zone database."""
    return name in _time_zones()


@functools.cache
def _time_zones() -> frozenset[str]:
    """The names of all zones; finding them means walking a directory tree."""
    return frozenset(zoneinfo.available_timezones())
