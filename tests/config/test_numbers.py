"""Numbers in the environment: what is out of range is refused at the start, and names its variable."""

from __future__ import annotations

import pytest

from config.env import BadSetting, Reader


@pytest.mark.parametrize(("value", "refused"), [("0", "at least 1"), ("1", ""), ("9", ""), ("10", "at most 9")])
def test_a_number_out_of_range_is_refused(monkeypatch: pytest.MonkeyPatch, value: str, refused: str) -> None:
    monkeypatch.setenv("A_NUMBER", value)
    reader = Reader()
    if refused:
        with pytest.raises(BadSetting, match=f"A_NUMBER.*{refused}"):
            reader.number("A_NUMBER", 5, least=1, most=9)
    else:
        assert reader.number("A_NUMBER", 5, least=1, most=9) == int(value)
