"""Of arguments that are still being written nothing is shown that the whole ones would hide."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from copilot.agent.inputs import ShownInput

SECRET = "Zx8Qm2Lr5Tn7Vb1Wc4Yd6Ke9"


def shown(text: str, size: int) -> str:
    """Feed the text in pieces of this size; return all that was shown."""
    stream = ShownInput()
    return "".join(stream.feed(text[at : at + size]) for at in range(0, len(text), size))


def test_ordinary_arguments_are_shown_as_they_come() -> None:
    text = json.dumps({"path": "notes.txt", "content": "Hello.\n" * 20})
    assert shown(text, 5) == text


@given(size=st.integers(1, 200))
def test_a_value_under_a_telling_name_is_not_shown(size: int) -> None:
    text = json.dumps({"url": "somewhere", "db_password": "hunter-two-and-a-half", "more": "x" * 50})
    assert "hunter" not in shown(text, size)


@given(size=st.integers(1, 200))
def test_a_key_of_a_known_kind_is_not_shown(size: int) -> None:
    text = json.dumps({"text": f"take hf_{SECRET} for it", "more": "x" * 50})
    assert SECRET[:8] not in shown(text, size)


@given(size=st.integers(1, 200))
def test_what_is_spelled_by_escapes_is_not_shown(size: int) -> None:
    text = '{"text": "hf\\u005f' + SECRET + '", "more": "x"}'
    assert SECRET[:8] not in shown(text, size)


@given(size=st.integers(1, 200))
def test_a_value_whose_telling_name_comes_behind_it_is_not_shown(size: int) -> None:
    text = json.dumps({"entry": {"value": "hunter-two-and-a-half", "name": "DB_PASSWORD"}})
    assert "hunter" not in shown(text, size)
