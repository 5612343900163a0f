"""``manage.py run_bot`` names every setting that an adapter lacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command


@pytest.mark.parametrize(
    ("platform", "missing"),
    [
        ("discord", ["DISCORD_HOLDFAST_KEY", "DISCORD_TOKEN"]),
        ("slack", ["SLACK_HOLDFAST_KEY", "SLACK_BOT_TOKEN"]),
    ],
    ids=["discord", "slack"],
)
def test_all_that_is_missing_is_named(settings: Any, tmp_path: Path, platform: str, missing: list[str]) -> None:
    for name in missing:
        setattr(settings, name, "")
    with pytest.raises(CommandError) as refused:
        call_command("run_bot", platform, state=tmp_path / "state.json")
    assert str(refused.value).splitlines() == [f"{name}: missing. See docs/platforms.md." for name in missing]
