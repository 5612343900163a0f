"""What people upload."""

from __future__ import annotations

from typing import Self

from django.conf import settings
from django.db import models
from django.db.models import Q

from common.ids import new_id


class FileQuerySet(models.QuerySet["File"]):
    """Composable selections of files."""

    def visible_to(self, user: object) -> Self:
        """Files that ``user`` uploaded; anything else does not exist for them."""
        return self.filter(user=user)

    def unattached(self) -> Self:
        """Files that belong to no session (yet)."""
        return self.filter(session__isnull=True)


class File(models.Model):
    """One uploaded file; its content is in ``DATA_DIR/files`` under its id, and never changes.

    It belongs to the first session that it was uploaded to or sent in, and goes with it.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="files")
    session = models.ForeignKey(
        "copilot.Session", on_delete=models.CASCADE, null=True, default=None, related_name="files"
    )
    #: As its sender called it, without folders; for people, never a path.
    name = models.CharField(max_length=255)
    #: What its bytes are.
    media_type = models.CharField(max_length=100)
    size = models.PositiveIntegerField()
    sha256 = models.CharField(max_length=64)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = FileQuerySet.as_manager()

    class Meta:
        constraints = [models.CheckConstraint(name="file_is_not_empty", condition=Q(size__gt=0))]
        indexes = [
            # The sweep's look for uploads that were never sent.
            models.Index(name="file_unattached", fields=["created_at"], condition=Q(session__isnull=True)),
        ]

    def __str__(self) -> str:
        return self.name
