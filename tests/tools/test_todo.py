"""The list of what is to be done."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.schemas import problem_of
from copilot.tools.base import ToolError
from copilot.tools.todo import FILE, Todo
from tests.tools.using import use

LIST = [{"content": "look", "status": "completed"}, {"content": "mend ü", "status": "in_progress"}]


async def test_the_list_is_replaced_whole_and_stays(tmp_path: Path) -> None:
    assert await use(Todo(), tmp_path) == {"todos": [], "open": 0}
    assert await use(Todo(), tmp_path, todos=LIST) == {"todos": LIST, "open": 1}
    assert await use(Todo(), tmp_path) == {"todos": LIST, "open": 1}
    assert await use(Todo(), tmp_path, todos=[]) == {"todos": [], "open": 0}


@pytest.mark.parametrize(
    "todos",
    [[{"content": "x"}], [{"content": "", "status": "pending"}], [{"content": "x", "status": "soon"}], "x"],
)
def test_a_list_that_is_none_is_refused(todos: object) -> None:
    assert problem_of({"todos": todos}, Todo.parameters)


@pytest.mark.parametrize("content", ["", "{}", "[1]", '[{"content": "x"}]', '[{"content": 1, "status": "soon"}]'])
async def test_a_list_that_was_spoiled_says_so(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE).write_text(content)
    if content == "{}":
        assert (await use(Todo(), tmp_path))["todos"] == []
        return
    with pytest.raises(ToolError, match="Write the list anew"):
        await use(Todo(), tmp_path)
