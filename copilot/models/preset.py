"""Named instructions that a session can be given."""

from __future__ import annotations

from typing import Self

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower

from common.db import db_now
from common.ids import new_id

NAME_MAX = 80
PROMPT_MAX = 20_000
MANNER_MAX = 200


class PresetQuerySet(models.QuerySet["Preset"]):
    """Composable selections of presets."""

    def visible_to(self, user: object) -> Self:
        """The operator's and the person's own; those of other people do not exist for them."""
        return self.filter(Q(user__isnull=True) | Q(user=user))

    def of_operator(self) -> Self:
        """Those that everybody can use."""
        return self.filter(user__isnull=True)


class Preset(models.Model):
    """What an agent is to be like: a prompt and, if wanted, a tone and a style. Turns copy it when they begin."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    #: Whose it is; null: the operator's, for everybody.
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.CASCADE, related_name="copilot_presets"
    )
    name = models.CharField(max_length=NAME_MAX)
    prompt = models.TextField(max_length=PROMPT_MAX)
    tone = models.CharField(max_length=MANNER_MAX, blank=True, default="")
    style = models.CharField(max_length=MANNER_MAX, blank=True, default="")
    created_at = models.DateTimeField(db_default=db_now())

    objects = PresetQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint("user", Lower("name"), name="preset_one_name_a_person"),
            models.UniqueConstraint(
                Lower("name"), name="preset_one_name_of_operator", condition=Q(user__isnull=True)
            ),
        ]

    def __str__(self) -> str:
        return self.name
