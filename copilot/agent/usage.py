"""What a model call used: what its provider said of it, else an estimate that is marked as one."""

from __future__ import annotations

from dataclasses import replace

from copilot.agent.estimate import characters_tokens, request_tokens
from copilot.agent.metering import Meter
from copilot.events import schema
from copilot.providers.base import ModelRequest, Usage


def used(usage: Usage | None, request: ModelRequest, heard: Meter, *, whole: bool) -> Usage:
    """Return what a call used, with estimates where its provider did not say.

    Providers tell at the end: of a call that was cut off they have told nothing, or only what they read.

    Args:
        usage: what the provider said, if anything.
        whole: the answer came to its end, so that what was said is all there is.
    """
    counted = usage is not None and bool(usage.input_tokens or usage.output_tokens)
    if usage is not None and whole and (counted or not heard.characters):
        return usage  # a server that counts nothing may say noughts
    known = usage or Usage()
    input_tokens = known.input_tokens or request_tokens(request)
    output_tokens = max(known.output_tokens, characters_tokens(heard.characters))
    if (input_tokens, output_tokens) == (known.input_tokens, known.output_tokens):
        return known
    return replace(
        known,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        reasoning_tokens=max(known.reasoning_tokens, characters_tokens(heard.thought)),
        estimated=True,
    )


def usage_chunk(usage: Usage, model: str) -> schema.Chunk:
    """Return what is told of a call: its tokens, never its cost, which not everybody may see.

    Args:
        model: ``provider/name`` that was asked.
    """
    tokens = {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "cache_read_tokens": usage.cache_read_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
    }
    return schema.data("usage", {**tokens, "model": model, **({"estimated": True} if usage.estimated else {})})
