"""Tells people that a decision waits, when no page of theirs is in front: in their browsers and by mail."""

from approvals.reach.due import finish_reaching, reach_due
from approvals.reach.presence import note_in_front

__all__ = ["finish_reaching", "note_in_front", "reach_due"]
