"""The collected payloads."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest

_ROOT = Path(__file__).resolve().parents[3]
CORPUS = Path(os.environ.get("HOLDFAST_CORPUS") or _ROOT.parent / "shared" / "corpus") / "platforms"

if not CORPUS.is_dir():
    pytest.skip("the collected payloads are not here (HOLDFAST_CORPUS)", allow_module_level=True)


def read(platform: str) -> dict[str, Any]:
    """Return what was collected of a platform."""
    with gzip.open(CORPUS / f"{platform}.json.gz", "rt") as file:
        found: dict[str, Any] = json.load(file)
    return found
