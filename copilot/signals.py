"""What the engine tells the apps above it. Nobody has to listen.

Sent with ``Signal.send``: what a receiver raises undoes the transaction, so that what it writes about it is
written exactly when it happens.
"""

from __future__ import annotations

from django.dispatch import Signal

#: ``turn`` ended: ``status`` and ``outcome`` are what became of it, ``next_turn`` the id of the one that took what
#: waited, if any. Sent in the transaction that ends it; the row in hand is as it was before.
turn_ended = Signal()

#: The sweep looks after things: receivers see to what is theirs and return of how many rows they did. Not sent in
#: a transaction; ``rarely`` tells the passes that tidy up from those that look each second.
sweeping = Signal()

#: Everything of ``user`` is being deleted: receivers delete some of what is theirs and return of how many rows;
#: they are asked until there is nothing left. Not sent in a transaction.
deleting = Signal()

#: ``user`` wants their data: receivers return a list of ``copilot.export.tables.Table``.
exporting = Signal()
