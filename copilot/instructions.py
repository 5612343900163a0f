"""What people want of an agent, beside what they ask: put together when a turn is accepted, and stored with it.

The order is fixed: the person's own instructions for all sessions, the session's preset, the session's
instructions. As long as nobody changes one of them, the same text comes out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from copilot.models import Session


def instructions_of(session: Session, *, personal: bool) -> dict[str, str]:
    """Return what a turn that begins now is told, as the entries of its settings.

    ``personal`` is what the owner wants in all sessions, ``instructions`` what this session is for. They are apart
    because only one of them may be told to an agent that somebody else talks to.

    Args:
        personal: the owner of the session wrote everything that the turn answers, or lets who did have it.
    """
    wishes = session.wishes
    tone, style = wishes.preset_tone, wishes.preset_style
    preset = joined(
        [wishes.preset_prompt, f"Tone: {tone}" if tone else "", f"Style: {style}" if style else ""], "\n"
    )
    return {
        "personal": wishes.personal if personal else "",
        "instructions": joined([preset, session.instructions]),
    }


def without_personal(settings: dict[str, Any]) -> dict[str, Any]:
    """Return a turn's settings after somebody else than the session's owner began to talk to the agent."""
    return {**settings, "personal": ""}


def joined(texts: Iterable[str | None], between: str = "\n\n") -> str:
    """Return the texts that there are, one after the other."""
    return between.join(text for text in texts if text)
