"""How the engine takes part in a decision: four signals, sent inside the transaction that decides.

The four are sent with ``Signal.send``: what a receiver raises undoes all of the transaction. Sent robustly, or
after the commit, a receiver that fails would leave its turn waiting for a decision that was made.
"""

from __future__ import annotations

from typing import Any

from django.core.checks import CheckMessage, Error, register
from django.dispatch import Signal

from common.checks import TAG

#: Before anything is read: take the locks that order what happens to ``turn_id``.
action_locking = Signal()
#: A person decided ``action``; ``decisions`` says what becomes of each call (``decisions.CallDecision``).
action_decided = Signal()
#: Nobody decided ``action`` in time.
action_expired = Signal()
#: What ``action`` asked about does not matter any more, for ``reason``.
action_cancelled = Signal()

#: ``action`` was opened: somebody is asked. Sent in the transaction that opens it; nobody has to listen.
action_opened = Signal()

#: A page is about to show sessions to ``user``: receivers return, by id, what those of ``session_ids`` are called.
naming_sessions = Signal()

_ALL = {
    "action_locking": action_locking,
    "action_decided": action_decided,
    "action_expired": action_expired,
    "action_cancelled": action_cancelled,
}


class StaleAction(Exception):
    """The action is not what its turn waits for (any more): nothing of the transaction may stand."""


@register(TAG)
def check_receivers(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Somebody listens to each signal: otherwise decisions would be stored and change nothing."""
    return [
        Error(
            f"Nobody listens to approvals.signals.{name}: turns that wait for a person would never go on.",
            hint="Keep the app 'copilot' in INSTALLED_APPS.",
            id="holdfast.E007",
        )
        for name, signal in _ALL.items()
        if not signal.has_listeners()
    ]
