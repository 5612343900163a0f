"""What an adapter is to the rest: what comes from its platform, and what it can do there."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from linking.platforms.splitting import Size

Kind = Literal["server", "user"]


class SetupError(Exception):
    """A setting keeps an adapter from running: its name, and what is wrong with it."""

    def __init__(self, setting: str, problem: str) -> None:
        super().__init__(f"{setting}: {problem}")


class PlatformError(Exception):
    """Something that was asked of a platform did not happen."""


class TooFast(PlatformError):
    """The platform's rate limit was met; try again after ``seconds``."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"too fast; again in {seconds:g} s")
        self.seconds = seconds


class Unavailable(PlatformError):
    """The platform did not answer, or failed: trying again may help."""


class Refused(PlatformError):
    """The platform will never do this: the message or chat is gone, or the bot may not write there."""


@dataclass(frozen=True, slots=True)
class Place:
    """A conversation on a platform, as Holdfast knows it and as the platform does.

    Attributes:
        kind: ``user`` for a private chat, ``server`` for what several people read.
        platform_id: what the link is about: the person of a private chat, else the group, guild or team.
        thread_id: which conversation of it; empty where there is only one.
        address: where the adapter writes to; its own business, strings only.
    """

    kind: Kind
    platform_id: str
    thread_id: str = ""
    address: tuple[str, ...] = ()

    @property
    def thread(self) -> tuple[str, str, str]:
        """What has one session: the same for every message of the conversation."""
        return (self.kind, self.platform_id, self.thread_id)


@dataclass(frozen=True, slots=True)
class Person:
    """Who wrote or pressed; ``id`` is empty for one that the platform does not name."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message to the bot: the adapter has found that it is meant, and taken the bot's name out of it.

    Attributes:
        message: the platform's id of it, unique in the place.
        command: ``start help ask stop link unlink`` or another word that the platform marks as a command; ``text``
            is what follows it.
        reply_to: the id of the message that it answers, if any.
        quoted: what somebody else said in that message.
        files: something came with it that cannot be read.
        place_name: what people call the group; shown when it is linked.
        origin: the adapter's own business, for ``Platform.note``.
    """

    place: Place
    person: Person
    message: str
    text: str
    command: str = ""
    reply_to: str = ""
    quoted: str = ""
    files: bool = False
    place_name: str = ""
    origin: Any = None


@dataclass(frozen=True, slots=True)
class Press:
    """A button that somebody pressed.

    Attributes:
        message: the id of the message that the button is on.
        data: what the button was made with; a person may have changed it.
        origin: the adapter's own business, for ``Platform.note``.
    """

    place: Place
    person: Person
    message: str
    data: str
    origin: Any = None


@dataclass(frozen=True, slots=True)
class Button:
    """A button below a message; ``data`` is at most 64 bytes of ASCII."""

    label: str
    data: str
    style: Literal["plain", "good", "bad"] = "plain"


Rows = Sequence[Sequence[Button]]


class Platform(Protocol):
    """What an adapter can do on its platform.

    Every call raises ``TooFast``, ``Unavailable`` or ``Refused`` and nothing else. Texts are Markdown of at most
    ``size``; what the platform cannot show of it is shown as it is written.

    Attributes:
        name: as the bot was registered: ``discord``, ``slack``, ``telegram``.
        size: how much one message holds.
        typing_seconds: how long the typing sign lasts; 0 where there is none.
        has_replies: whether people can answer one message of a conversation.
    """

    name: str
    size: Size
    typing_seconds: float
    has_replies: bool

    def pace_of(self, place: Place) -> tuple[Hashable, float]:
        """Return what the platform counts writes by, and the seconds that two of them must be apart."""

    async def send(self, place: Place, text: str, *, buttons: Rows = (), reply_to: str = "") -> str:
        """Write a message; return its id. A ``reply_to`` that is gone does not matter."""

    async def edit(self, place: Place, message: str, text: str, *, buttons: Rows = ()) -> None:
        """Replace the text and the buttons of a message; the same again is no error."""

    async def delete(self, place: Place, message: str) -> None:
        """Take a message away; one that is gone is no error."""

    async def typing(self, place: Place) -> None:
        """Show that an answer is being written."""

    async def note(self, to: Incoming | Press, text: str) -> None:
        """Tell who wrote or pressed something short; to them alone where the platform can."""

    async def tell_privately(self, person: Person, text: str) -> bool:
        """Tell a person what nobody else may read; return whether the platform let the bot write to them."""

    def how_to_reach(self) -> str:
        """Return a sentence that says how a person lets the bot write to them in private."""
