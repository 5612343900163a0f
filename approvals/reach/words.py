"""What people are told: that something waits, of what kind, and where. Never what a tool would be called with.

A notification is read on locked screens and by mail servers: arguments, questions and answers are not in it.
"""

from __future__ import annotations

from collections import Counter

from approvals.models import Action
from common.addresses import site_address

#: Names of tools in one message, and characters of each.
NAMES_MAX = 5
NAME_LENGTH_MAX = 80


def title(action: Action) -> str:
    """Return what waits, in a few words."""
    if action.kind == Action.Kind.QUESTION:
        return "An agent has a question for you"
    return "An agent waits for your decision"


def summary(action: Action) -> str:
    """Return what is asked, in a sentence."""
    if action.kind == Action.Kind.QUESTION:
        return "It waits for your answer."
    calls = "one tool call" if len(action.requests) == 1 else f"{len(action.requests)} tool calls"
    return f"It wants to make {calls}: {_names(action)}."


def text(action: Action) -> str:
    """Return the body of a mail."""
    lines = [title(action) + ".", "", summary(action)]
    if action.reason:
        lines += ["", f"Why it is asked: {' '.join(action.reason.split())}"]
    lines += [
        "",
        f"Open it here: {link(action)}",
        "",
        f"It waits for another {time_left(action)}. {_then(action)}",
    ]
    return "\n".join(lines) + "\n"


def path(action: Action) -> str:
    """Return the path of the page that shows the action."""
    return f"/approvals/{action.pk}/"


def link(action: Action) -> str:
    """Return the address of the page that shows the action."""
    return site_address() + path(action)


def seconds_left(action: Action) -> int:
    """Return for how long the action still waits; it must have been read with the database's clock."""
    now = action.time
    return max(0, int((action.expires_at - now).total_seconds()))


def time_left(action: Action) -> str:
    """Return for how long the action still waits, roughly, as people say it."""
    minutes = seconds_left(action) // 60
    for size, unit in ((1440, "day"), (60, "hour"), (1, "minute")):
        if minutes >= 2 * size:
            return f"{minutes // size} {unit}s"
    return "minute" if minutes else "moment"


def _names(action: Action) -> str:
    counted = Counter(_name(request) for request in action.requests)
    shown = [name if count == 1 else f"{name} ({count} times)" for name, count in counted.items()]
    more = len(shown) - NAMES_MAX
    return ", ".join(shown[:NAMES_MAX]) + (f" and {more} more" if more > 0 else "")


def _name(request: dict[str, str]) -> str:
    """Return a tool's name; servers of others name theirs, so it may hold anything."""
    name = "".join(each if each.isprintable() else " " for each in str(request.get("name", "")))
    return " ".join(name.split())[:NAME_LENGTH_MAX] or "a tool"


def _then(action: Action) -> str:
    if action.goes_on:
        return "Then the agent goes on by its own judgement."
    return "Nothing is done until you decide; then the agent stops."
