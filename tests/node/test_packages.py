"""The front ends under test are those that are named, and none is loaded twice under one name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import run

pytestmark = pytest.mark.node


def test_every_package_is_the_one_that_is_named_and_loads(run_script: Callable[..., Any]) -> None:
    assert run_script("packages.mjs") == run.pinned_packages()


def test_a_package_of_another_version_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "NODE", tmp_path)
    (tmp_path / "package.json").write_text('{"dependencies": {"ai": "6.0.1", "other": "npm:ai@7.0.2"}}')
    assert run.pinned_packages() == {"ai": "6.0.1", "other": "7.0.2"}
    assert "ai 6.0.1 is not there" in run.no_node()
    for name, version in (("ai", "6.0.1"), ("other", "7.0.1")):
        folder = tmp_path / "node_modules" / name
        folder.mkdir(parents=True)
        (folder / "package.json").write_text(json.dumps({"version": version}))
    assert "other 7.0.2 is not there" in run.no_node()
