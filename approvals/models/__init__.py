"""What is asked of people, what they decided, what they want remembered, and where they can be told."""

from approvals.models.action import Action
from approvals.models.audit import AuditEntry
from approvals.models.reach import Presence, PushSubscription
from approvals.models.rule import Rule

__all__ = ["Action", "AuditEntry", "Presence", "PushSubscription", "Rule"]
