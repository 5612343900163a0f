"""Rendering a text while it streams: a large one in a thread, and none the worse for it."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from chat import following
from chat.following import Blocks, Rendered
from common.markdown import BlockRenderer, render
from copilot.events import schema

#: Two short blocks, then a list that is one block, large, and over when the text is.
TEXT = "# Title\n\nA *first* paragraph.\n\n" + "".join(f"- item **{n}** of many\n" for n in range(150))


async def stream(text: str, size: int = 40) -> list[Rendered]:
    """Return what comes of a text in deltas of this size."""
    blocks = Blocks()
    found = await blocks.take(schema.part_start("text", "t"))
    for start in range(0, len(text), size):
        found += await blocks.take(schema.part_delta("text", "t", text[start : start + size]))
    return found + await blocks.take(schema.part_end("text", "t"))


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[threading.Thread]:
    """The threads in which text was rendered."""
    used: list[threading.Thread] = []
    emit = BlockRenderer._emit

    def noted(self: BlockRenderer, *args: Any) -> Any:
        used.append(threading.current_thread())
        return emit(self, *args)

    monkeypatch.setattr(BlockRenderer, "_emit", noted)
    return used


async def test_a_large_text_is_rendered_in_a_thread_and_comes_out_the_same(
    threads: list[threading.Thread], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(TEXT) > 2 * following.LARGE
    found = await stream(TEXT)
    here = threading.current_thread()
    assert threads[0] is here, "the small blocks at the beginning"
    assert threads[-1] is not here, "the list"
    threads.clear()
    monkeypatch.setattr(following, "LARGE", len(TEXT) + 1)
    assert await stream(TEXT) == found
    assert set(threads) == {here}
    assert "".join(block.html for _, block in found) == render(TEXT)
    assert [block.start for _, block in found] == [0, *(block.end for _, block in found[:-1])]


async def test_one_large_delta_is_rendered_in_a_thread(threads: list[threading.Thread]) -> None:
    found = await stream(TEXT, size=len(TEXT))
    assert threads[0] is not threading.current_thread()
    assert found == await stream(TEXT)
