"""What a tool is."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from copilot.providers.base import ToolSpec


class ToolError(Exception):
    """The call failed; the sentence goes to the model and to the person."""


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


class Tool:
    """One tool. Subclasses declare the first block, without defaults where a wrong guess would do harm."""

    name: ClassVar[str]
    description: ClassVar[str]
    #: JSON Schema of the arguments object.
    parameters: ClassVar[dict[str, Any]]
    #: May be run again when a worker died in the middle of it. A tool must say so.
    idempotent: ClassVar[bool]
    #: Needs a person's approval unless policy says otherwise.
    asks: ClassVar[bool] = False
    #: Offered to demo models only.
    demo_only: ClassVar[bool] = False

    async def run(self, context: ToolContext, **arguments: Any) -> Any:
        """Run the call and return a JSON-safe result. Cancelling the task stops it.

        Raises:
            ToolError: it failed, in words for the model.
        """
        raise NotImplementedError

    def spec(self) -> ToolSpec:
        """The tool as a model sees it."""
        return ToolSpec(self.name, self.description, self.parameters)


def object_schema(required: list[str] | None = None, **properties: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON Schema of an arguments object that takes these properties and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": required if required is not None else list(properties),
        "additionalProperties": False,
    }
