"""What a model reads of a tool's result: all of it up to a bound, else its two ends and where the whole is."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from copilot.agent import prompt
from copilot.tools.base import ToolError
from copilot.tools.folder import Folder

logger = logging.getLogger(__name__)

#: Characters of one result that go to a model.
TEXT_MAX = 70_000
#: Results beyond this are kept whole as files. Less than the above, since what is escaped and hidden in them
#: changes their length: whatever a model gets less of has its file.
KEPT_FROM = 50_000
FOLDER = ".outputs"
_NOTE_MAX = 300


def result_text(output: Any, call_id: object) -> str:
    """Return a call's output as the text that a model reads, always the same for the same output."""
    text = prompt.escape(_text(output))
    where = f"The whole is in the workspace as {path_of(call_id)}: read it with read_file, or search it."
    return _ends(text, where)


def reason_text(reason: str) -> str:
    """Return why a call has no output as the text that a model reads."""
    return _ends(prompt.escape(reason), "")


def path_of(call_id: object) -> str:
    """Return where in the workspace the whole result of a call is kept."""
    return f"{FOLDER}/{call_id}.txt"


def is_long(output: Any) -> bool:
    """Whether a result is to be kept as a file, too."""
    return len(_text(output)) > KEPT_FROM


def keep_whole(workspace: Path, call_id: object, output: Any) -> None:
    """Keep a result that is too long for a model as a file that it can read piece by piece. Blocks.

    Where that fails the call still has its result; the model will find no file.
    """
    try:
        Folder(workspace).write(path_of(call_id), _in_lines(output).encode(errors="replace"))
    except ToolError as error:
        logger.warning(
            "a result was not kept", extra={"action": "output_lost", "call_id": call_id, "error": str(error)}
        )


def _text(output: Any) -> str:
    return output if isinstance(output, str) else json.dumps(output, ensure_ascii=False)


def _in_lines(output: Any) -> str:
    """Return an output with the lines of its texts as lines, which is how files are read."""
    if isinstance(output, str):
        return output
    if not isinstance(output, dict):
        return json.dumps(output, ensure_ascii=False, indent=1)
    return "\n".join(
        f"{name}:\n{value}"
        if isinstance(value, str)
        else f"{name}: {json.dumps(value, ensure_ascii=False, indent=1)}"
        for name, value in output.items()
    )


def _ends(text: str, where: str) -> str:
    if len(text) <= TEXT_MAX:
        return text
    half = (TEXT_MAX - _NOTE_MAX) // 2
    note = f"[… {len(text) - 2 * half:,} characters left out here. {where}".rstrip() + " …]"
    return f"{text[:half]}\n\n{note}\n\n{text[-half:]}"
