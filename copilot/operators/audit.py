"""The record of what operators did."""

from __future__ import annotations

from typing import Any

from common.db import transact
from copilot.models import OperatorEntry, User

#: In the data of an entry: its act runs, or its process did not live to say what came of it.
UNFINISHED = "unfinished"


@transact
def record(
    operator: User | None,
    action: str,
    *,
    target_user: User | None = None,
    category: str = "",
    requested: int = 0,
    affected: int = 0,
    data: dict[str, Any] | None = None,
) -> OperatorEntry:
    """Note an act of an operator, in the caller's transaction where there is one; return the entry.

    Args:
        operator: who did it; None: somebody at the server's own command line.
        action: what was done, as one word such as ``stop``.
        target_user: the person it was done to, where it was one; only their id is kept.
        category: the category of turns that it was done to as a whole.
        requested: rows that it was wanted for.
        affected: rows that it changed.
        data: what else there is to know, as JSON; nothing secret, nothing that people wrote.
    """
    return OperatorEntry.objects.create(
        operator=operator,
        operator_name=operator.get_username() if operator else "",
        action=action,
        target_user=target_user.pk if target_user else None,
        category=category,
        requested=requested,
        affected=affected,
        data=data or {},
    )


def begin(
    operator: User, action: str, *, category: str = "", requested: int = 0, data: dict[str, Any]
) -> OperatorEntry:
    """Note an act before anything of it is done: whatever becomes of this process, it is known who did it.

    The entry says ``unfinished`` until ``end`` says what has come of the act.
    """
    about = {**data, UNFINISHED: True}
    return record(operator, action, category=category, requested=requested, data=about)


@transact
def end(entry: OperatorEntry, *, affected: int) -> None:
    """Note what has come of an act that was begun; after this its entry is final, too."""
    done = {name: value for name, value in entry.data.items() if name != UNFINISHED}
    # Past the model's own refusal, and once: what has ended is not found.
    begun = OperatorEntry._base_manager.filter(pk=entry.pk, **{f"data__{UNFINISHED}": True})
    begun.update(affected=affected, data=done)
