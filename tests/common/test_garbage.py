"""What a process loads at its start is not searched for garbage again and again."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from common.garbage import OLDER, YOUNG, spare_what_is_loaded


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


def _is_searched(thing: object) -> bool:
    return any(found is thing for found in gc.get_objects())


def test_collections_leave_out_what_was_loaded_and_no_more() -> None:
    gc.unfreeze()
    loaded: list[list[int]] = [[]]
    assert _is_searched(loaded)
    spare_what_is_loaded()
    made_later: list[list[int]] = [[]]
    assert not _is_searched(loaded)
    assert _is_searched(made_later)
    assert gc.get_threshold() == (YOUNG, OLDER, OLDER)
