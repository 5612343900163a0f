"""What an adapter must know after a restart: which turns it was showing, and where."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from linking.platforms.base import Place

log = logging.getLogger(__name__)

#: So many messages are known again when a platform delivers them twice.
RECENT = 500


@dataclass
class Shown:
    """A turn that is shown in a place.

    Attributes:
        reply_to: the platform's message that it answers.
        written: the platform's messages that the answer is in, in order.
        asked: the messages that ask for a decision, by approval; the last of each has the buttons.
        question: the approval that is a question and still open, if any.
    """

    turn: str
    place: Place
    reply_to: str = ""
    written: list[str] = field(default_factory=list)
    asked: dict[str, list[str]] = field(default_factory=dict)
    question: str = ""


class Memory:
    """A small file, written whole at each change; without a path nothing outlives the process.

    It holds ids of chats, messages and turns, no text. Only its owner may read it.

    Attributes:
        session: by what an adapter goes on where it left its platform; its own business.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self.shown: dict[str, Shown] = {}
        self.session: dict[str, Any] = {}
        self._recent: dict[str, None] = {}
        if path is not None and path.is_file():
            self._read(path)

    def knows(self, client_id: str) -> bool:
        """Whether this message was accepted before."""
        return client_id in self._recent

    def accept(self, client_id: str, shown: Shown | None = None) -> None:
        """Remember that a message was accepted, and the turn that shows what comes of it."""
        self._recent[client_id] = None
        while len(self._recent) > RECENT:
            del self._recent[next(iter(self._recent))]
        if shown is not None:
            self.shown[shown.turn] = shown
        self.save()

    def forget(self, turn: str) -> None:
        """Forget a turn that is shown to its end."""
        if self.shown.pop(turn, None):
            self.save()

    def save(self) -> None:
        """Write everything down. What cannot be written is known until the end of the process."""
        if self._path is None:
            return
        try:
            self._write(self._path)
        except OSError as error:
            # A full disk must not keep an answer from being shown.
            log.warning("the adapter's file cannot be written", extra={"error": error.strerror})

    def _write(self, path: Path) -> None:
        content = {
            "shown": [asdict(each) for each in self.shown.values()],
            "recent": list(self._recent),
            "session": self.session,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".new")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(content, file)
        draft.replace(path)

    def _read(self, path: Path) -> None:
        try:
            content: dict[str, Any] = json.loads(path.read_text())
            for each in content["shown"]:
                place = each.pop("place")
                address = tuple(place.pop("address"))
                self.shown[each["turn"]] = Shown(**each, place=Place(**place, address=address))
            self._recent = dict.fromkeys(content["recent"])
            self.session = dict(content.get("session") or {})
        except (ValueError, KeyError, TypeError, AttributeError):
            # Better to lose sight of some answers than never to start again.
            log.warning("the adapter's file is damaged and was left out", extra={"path": path.name})
            self.shown, self._recent, self.session = {}, {}, {}
