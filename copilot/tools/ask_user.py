"""Asking the person."""

from __future__ import annotations

from typing import Any, NoReturn

from copilot.tools.base import Tool, ToolContext


class AskUser(Tool):
    """A question to the person. It never runs: the turn pauses, and the answer becomes its result."""

    name = "ask_user"
    description = (
        "Ask the user a question and wait for the answer, which may be one of the options or any other text. "
        "Ask only what you cannot find out yourself."
    )
    parameters = {
        "type": "object",
        "properties": {
            "question": {"type": "string", "minLength": 1, "maxLength": 4000},
            "options": {
                "type": "array",
                "items": {"type": "string", "minLength": 1, "maxLength": 500},
                "maxItems": 20,
                "description": "Answers to choose from.",
            },
            "timeout_seconds": {
                "type": "number",
                "exclusiveMinimum": 0,
                "maximum": 2_592_000,
                "description": "After this many seconds you go on without an answer. Leave it out to wait.",
            },
        },
        "required": ["question"],
        "additionalProperties": False,
    }
    idempotent = True
    decisions = ("respond", "reject")

    async def run(self, context: ToolContext, **arguments: Any) -> NoReturn:
        """Never called: a person answers.

        Raises:
            RuntimeError: always.
        """
        raise RuntimeError("a question is answered by a person, not run")
