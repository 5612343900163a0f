"""A platform in memory: what an adapter did on it, and what it made to fail."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

from linking.platforms.base import Incoming, Person, Place, PlatformError, Press, Rows
from linking.platforms.splitting import Size


@dataclass
class Recorder:
    """Holds messages by id. ``fails`` are raised by the next writes, one each."""

    name: str = "recorder"
    size: Size = field(default_factory=lambda: Size(100))
    typing_seconds: float = 0.0
    has_replies: bool = True
    texts: dict[str, str] = field(default_factory=dict)
    writes: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    fails: list[PlatformError] = field(default_factory=list)

    def pace_of(self, place: Place) -> tuple[Hashable, float]:
        return place.thread, 0.0

    async def send(self, place: Place, text: str, *, buttons: Rows = (), reply_to: str = "") -> str:
        self._write(f"send {text}")
        message = f"m{len(self.writes)}"
        self.texts[message] = text
        return message

    async def edit(self, place: Place, message: str, text: str, *, buttons: Rows = ()) -> None:
        self._write(f"edit {text}")
        self.texts[message] = text

    async def delete(self, place: Place, message: str) -> None:
        self._write(f"delete {message}")
        del self.texts[message]

    async def typing(self, place: Place) -> None: ...

    async def note(self, to: Incoming | Press, text: str) -> None:
        self.notes.append(text)

    async def tell_privately(self, person: Person, text: str) -> bool:
        self.notes.append(text)
        return True

    def how_to_reach(self) -> str:
        return "Come closer."

    def _write(self, what: str) -> None:
        if self.fails:
            raise self.fails.pop(0)
        self.writes.append(what)
