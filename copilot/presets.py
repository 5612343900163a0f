"""Presets: the operator's, which everybody can use, and people's own."""

from __future__ import annotations

from django.db.models import F

from common.db import transact
from common.errors import NotFound, invalid
from common.ids import as_uuid
from common.usertext import check_user_text
from copilot.models import Preset, Session, User
from copilot.models.preset import MANNER_MAX, NAME_MAX, PROMPT_MAX, PresetQuerySet

#: A person has so many of their own at most.
PRESETS_MAX = 100


def presets_of(user: User) -> PresetQuerySet:
    """Return what the person can choose from: the operator's first, each group by name."""
    return Preset.objects.visible_to(user).order_by(F("user").asc(nulls_first=True), "name", "id")


def visible_preset(user: User, preset_id: str) -> Preset:
    """Return a preset that the person can use.

    Raises:
        Invalid: there is none of that id.
    """
    known = as_uuid(preset_id)
    preset = Preset.objects.visible_to(user).filter(pk=known).first() if known else None
    if preset is None:
        raise invalid({"preset": f"There is no preset {preset_id[:100]!r}. See GET presets."})
    return preset


@transact
def create_preset(*, user: User, name: str, prompt: str, tone: str = "", style: str = "") -> Preset:
    """Create a preset of the person's own.

    Raises:
        Invalid: no name, no prompt, a name that they gave before, whatever the case, one preset too many; or a
            text that is refused (``refused_text``).
    """
    preset = Preset(
        user=user,
        name=_line(name, "The name", NAME_MAX),
        prompt=check_user_text(prompt, what="The prompt", most=PROMPT_MAX).strip(),
        tone=_line(tone, "The tone", MANNER_MAX),
        style=_line(style, "The style", MANNER_MAX),
    )
    if not preset.prompt:
        raise invalid({"prompt": "Write what the agent is to be like."})
    # So that two at once are counted one after the other.
    User.objects.select_for_update(no_key=True).get(pk=user.pk)
    own = Preset.objects.filter(user=user)
    if problem := name_problem(own, preset.name):
        raise invalid({"name": problem})
    if own.count() >= PRESETS_MAX:
        raise invalid({"": f"You have {PRESETS_MAX} presets already. Delete one first."})
    preset.save(force_insert=True)
    preset.refresh_from_db(fields=["created_at"])
    return preset


def name_problem(among: PresetQuerySet, name: str) -> str:
    """Return why a preset cannot be called so beside the others, or an empty string.

    Compared here because SQLite knows the case of English letters only; the constraints are the net.
    """
    if not name:
        return "Give it a name."
    taken = {each.casefold() for each in among.values_list("name", flat=True)}
    return f"There is a preset named {name!r} already." if name.casefold() in taken else ""


@transact
def delete_preset(*, user: User, preset_id: object) -> None:
    """Delete one of the person's own; their sessions do without it from the next turn on.

    Raises:
        NotFound: unknown, somebody else's, or the operator's.
    """
    known = as_uuid(preset_id)
    found = Preset.objects.filter(user=user, pk=known) if known else Preset.objects.none()
    if not found.exists():
        raise NotFound("There is no such preset of yours.")
    remove(found)


@transact
def remove(presets: PresetQuerySet) -> None:
    """Delete presets; the sessions that had one show that they have none."""
    ids = list(presets.values_list("pk", flat=True))
    Session.objects.filter(preset__in=ids).update(preset=None, revision=F("revision") + 1)
    Preset.objects.filter(pk__in=ids).delete()


def _line(text: str, what: str, most: int) -> str:
    """Return a text as one line."""
    return " ".join(check_user_text(text, what=what, most=most).split())
