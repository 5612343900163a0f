"""What time it is, where the model or the person says."""

from __future__ import annotations

import datetime
import uuid
import zoneinfo
from pathlib import Path

import pytest

from copilot.tools.base import ToolContext, ToolError
from copilot.tools.current_time import CurrentTime


def context(time_zone: str = "") -> ToolContext:
    return ToolContext(
        turn_id=uuid.uuid4(),
        session_id=uuid.uuid4(),
        time_zone=time_zone,
        workspace=Path("unused"),
        progress=lambda output: None,
    )


@pytest.mark.parametrize(
    ("persons", "asked", "zone"),
    [
        ("", {}, "UTC"),
        ("Europe/Berlin", {}, "Europe/Berlin"),
        ("Europe/Berlin", {"timezone": "Asia/Tokyo"}, "Asia/Tokyo"),
        ("", {"timezone": ""}, "UTC"),
    ],
)
async def test_the_zone_is_the_models_choice_or_the_persons(
    persons: str, asked: dict[str, str], zone: str
) -> None:
    answer = await CurrentTime().run(context(persons), **asked)
    told = datetime.datetime.fromisoformat(answer["time"])
    now = datetime.datetime.now(zoneinfo.ZoneInfo(zone))
    assert answer["timezone"] == zone
    assert told.utcoffset() == now.utcoffset()
    assert abs((now - told).total_seconds()) < 5
    assert answer["weekday"] == told.strftime("%A")


@pytest.mark.parametrize(
    "name",
    ["Mars/Olympus", "Europe", "../../etc/passwd", "/etc/passwd", "a" * 5000, "Europe/Berlin\x00", "😀", "."],
)
async def test_a_zone_that_does_not_exist(name: str) -> None:
    with pytest.raises(ToolError, match="no time zone"):
        await CurrentTime().run(context(), timezone=name)
