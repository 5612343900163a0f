"""What a tool is."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from copilot.providers.base import ToolSpec


class ToolError(Exception):
    """The call failed; the sentence goes to the model and to the person."""


class Children(Protocol):
    """What a call may do with child sessions; the engine has it. Both return what the model is told."""

    async def run(self, *, prompt: str, system_context: str, session: str | None, wait: float) -> Any:
        """Send ``prompt`` to a child session, a new one unless ``session`` names one, and wait for its answer.

        Raises:
            ToolError: there is no such child, or it cannot be asked.
        """

    async def result(self, *, session: str, wait: float, cancel: bool, include_progress: bool) -> Any:
        """Tell what became of the last prompt that was sent to a child session. Raises like ``run``."""


@dataclass(frozen=True, slots=True)
class ToolContext:
    """What a running call may know and do.

    ``progress(text)`` shows output so far; ``workspace`` is the session's folder, made on first use by the tool.
    """

    turn_id: uuid.UUID
    session_id: uuid.UUID
    time_zone: str
    workspace: Path
    progress: Callable[[Any], None]
    children: Children | None = None


class Tool:
    """One tool. Subclasses declare the first block, without defaults where a wrong guess would do harm."""

    name: str
    description: str
    #: JSON Schema of the arguments object.
    parameters: dict[str, Any]
    #: May be run again when a worker died in the middle of it. A tool must say so.
    idempotent: bool
    #: Needs a person's approval unless policy says otherwise.
    asks: bool = False
    #: How a person may decide about a call of it.
    decisions: ClassVar[tuple[str, ...]] = ("approve", "edit", "reject")
    #: Offered to demo models only.
    demo_only: ClassVar[bool] = False
    #: A guide: the name of the tool that must have succeeded in the session before this one may run.
    requires: ClassVar[str] = ""

    def available(self) -> bool:
        """Whether this server can run it at all. May block."""
        return True

    async def run(self, context: ToolContext, **arguments: Any) -> Any:
        """Run the call and return a JSON-safe result. Cancelling the task stops it.

        Raises:
            ToolError: it failed, in words for the model.
        """
        raise NotImplementedError

    def spec(self) -> ToolSpec:
        """The tool as a model sees it."""
        first = f" Call {self.requires} once before." if self.requires else ""
        return ToolSpec(self.name, f"{self.description}{first}", self.parameters)


def object_schema(required: list[str] | None = None, **properties: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON Schema of an arguments object that takes these properties and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": required if required is not None else list(properties),
        "additionalProperties": False,
    }
