"""Personal keys and one-time login links. Of either only a hash of the secret is stored."""

from __future__ import annotations

from typing import Self

from django.conf import settings
from django.db import models

from common.ids import new_id


class PersonalKeyQuerySet(models.QuerySet["PersonalKey"]):
    """Composable selections of keys."""

    def visible_to(self, user: object) -> Self:
        """Keys of ``user``; anything else does not exist for them."""
        return self.filter(user=user)

    def live(self) -> Self:
        """Keys that were not revoked."""
        return self.filter(revoked_at__isnull=True)


class PersonalKey(models.Model):
    """A key with which a person's scripts call the API as that person, within its scopes."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="personal_keys")
    label = models.CharField(max_length=100, blank=True, default="")
    scopes = models.JSONField(default=list)
    #: The first characters of the secret: enough for its owner to tell keys apart.
    prefix = models.CharField(max_length=12)
    #: SHA-256 in hex. A slow hash protects guessable passwords; 256 random bits cannot be guessed, and this one
    #: is computed on every request.
    digest = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField(auto_now_add=True)
    last_used_at = models.DateTimeField(null=True, default=None)
    revoked_at = models.DateTimeField(null=True, default=None)

    objects = PersonalKeyQuerySet.as_manager()

    class Meta:
        # The list of a person's keys.
        indexes = [models.Index(name="personalkey_of_user", fields=["user", "-created_at"])]

    def __str__(self) -> str:
        return f"{self.prefix}… {self.label}".strip()


class LoginToken(models.Model):
    """A link that logs one person in, once, for a quarter of an hour."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="login_tokens")
    digest = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True, default=None)

    def __str__(self) -> str:
        return f"login link of {self.created_at:%Y-%m-%d %H:%M}"
