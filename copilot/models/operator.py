"""What operators did."""

from __future__ import annotations

from typing import Any, NoReturn

from django.conf import settings
from django.db import models

from common.db import db_now
from common.ids import new_id


class OperatorQuerySet(models.QuerySet["OperatorEntry"]):
    """Selections of entries; there is no way to change or remove them from here."""

    def update(self, **changes: Any) -> NoReturn:
        """Refuse: entries are final."""
        raise TypeError("The record of operators is append-only.")

    def delete(self) -> NoReturn:
        """Refuse: entries are final."""
        raise TypeError("The record of operators is append-only.")


class OperatorEntry(models.Model):
    """One act of an operator, also one that changed nothing. Never changed once the act has ended.

    It outlives the accounts of who did it and of whom it was done to, and holds nothing that people wrote.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    at = models.DateTimeField(db_default=db_now())
    operator = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    #: Their name then, which outlives the account. Empty: somebody at the server's own command line.
    operator_name = models.CharField(max_length=150, blank=True, default="")
    action = models.CharField(max_length=40)
    #: The category of turns that it was done to as a whole; empty where rows were chosen one by one.
    category = models.CharField(max_length=40, blank=True, default="")
    #: The person it was done to: by id, which names nobody once the account is gone.
    target_user = models.UUIDField(null=True, default=None)
    #: Rows that it was wanted for, and rows that it changed.
    requested = models.PositiveIntegerField(default=0)
    affected = models.PositiveIntegerField(default=0)
    #: What else there is to know of the act, such as the ids of ``turns``; never anything secret.
    data = models.JSONField(default=dict)

    objects = OperatorQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "operator entries"

    def __str__(self) -> str:
        return f"{self.action} {self.category}".strip()

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Insert the entry.

        Raises:
            TypeError: it is there already.
        """
        if not self._state.adding:
            raise TypeError("The record of operators is append-only.")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse: entries are final."""
        raise TypeError("The record of operators is append-only.")
