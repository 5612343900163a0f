"""The recorded exchanges of real providers, where they are at hand (``HOLDFAST_CORPUS``)."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from copilot.providers.anthropic import AnthropicProvider
from copilot.providers.base import Provider
from copilot.providers.openai import OpenAIProvider
from copilot.providers.responses import ResponsesProvider
from tests.providers.server import Reply, split

_ROOT = Path(__file__).resolve().parents[3]
CORPUS = Path(os.environ.get("HOLDFAST_CORPUS") or _ROOT.parent / "shared" / "corpus") / "providers"

if not (CORPUS / "manifest.jsonl").is_file():
    pytest.skip("the recorded provider streams are not here (HOLDFAST_CORPUS)", allow_module_level=True)


def _lines(name: str) -> Iterator[dict[str, Any]]:
    with (CORPUS / name).open() as lines:
        for line in lines:
            yield json.loads(line)


ORACLE = {line["name"]: line for line in _lines("oracle.jsonl") if "name" in line}
CASES = {case["name"]: case for case in _lines("manifest.jsonl")}
SEQUENCES: dict[str, Any] = json.loads((CORPUS / "sequences.json").read_text())


def provider_of(case: dict[str, Any], url: str) -> Provider:
    """Return the adapter for a case's API, calling ``url``."""
    if case["api"] == "anthropic.messages":
        return AnthropicProvider(api_key="k", base_url=url)
    if case["api"] == "openai.responses":
        return ResponsesProvider(api_key="k", base_url=f"{url}/v1")
    return OpenAIProvider(api_key="k", base_url=f"{url}/v1")


def body_of(case: dict[str, Any]) -> bytes:
    """Return the bytes that the provider answered with."""
    return (CORPUS / str(case["response_body_file"])).read_bytes()


def reply_of(case: dict[str, Any], size: int = 0) -> Reply:
    """Return the recorded answer, in pieces of ``size`` bytes, or whole."""
    kind = "text/event-stream" if case["stream"] else "application/json"
    return Reply(split(body_of(case), size), case["response_status"], {"content-type": kind})


def params(cases: list[dict[str, Any]]) -> list[Any]:
    """Return cases as named parameters."""
    return [pytest.param(case, id=case["name"]) for case in cases]
