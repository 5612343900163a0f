"""Passing on to Holdfast what people decide in a chat. Who may decide is Holdfast's to say."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from linking.platforms import words
from linking.platforms.base import Person, Press
from linking.platforms.client import ApiError, Holdfast
from linking.platforms.deciding import Choices, read_press
from linking.platforms.following import Following


class Presses:
    """Makes decisions of what people press and answer, and says what became of them."""

    def __init__(self, holdfast: Holdfast) -> None:
        self._holdfast = holdfast
        self._choices = Choices()

    async def take(self, press: Press, followings: Iterable[Following]) -> str:
        """Do what a button says, on one of the turns that are shown; return what to tell who pressed it."""
        pressed = read_press(press.data)
        if pressed is None or not press.person.id:
            return words.OVER
        approval = await _asked(pressed.approval, press, followings)
        if approval is None:
            return words.OVER
        try:
            decision = self._choices.take(approval, press.person.id, pressed)
        except ValueError:
            return words.OVER
        if isinstance(decision, str):
            return decision
        return await self._decide(pressed.approval, press.person, decision) or "👍"

    async def answer(self, question: str, person: Person, text: str) -> str:
        """Answer a question in a person's words; return what to tell them if it was not taken."""
        return await self._decide(question, person, {"answer": text})

    async def _decide(self, approval: str, person: Person, decision: dict[str, Any]) -> str:
        try:
            await self._holdfast.decide(approval, person, decision)
        except ApiError as error:
            return _undecided(error)
        return ""


async def _asked(approval: str, press: Press, followings: Iterable[Following]) -> dict[str, Any] | None:
    """Return what is still to be decided of what was asked in the chat in which somebody pressed."""
    for following in followings:
        place = following.place
        if (place.kind, place.platform_id) == (press.place.kind, press.place.platform_id) and (
            found := await following.open_approval(approval)
        ):
            return found
    return None


def _undecided(error: ApiError) -> str:
    """What to tell who wanted to decide and could not."""
    if error.status == 404:
        return words.NOT_YOURS
    if error.code == "scope":
        return words.NO_SCOPE
    if error.code == "already_decided":
        by = error.fields.get("decided_by")
        return f"This was decided already by {by}." if by else words.OVER
    if error.code in ("expired", "stale"):
        return words.OVER
    return words.refusal(error)
