"""The floor: the official SDK's typed stream, reading the bench provider directly, with nothing in between.

A process of its own (``python -m bench.floor``), so that it has an interpreter to itself, as the server has.
Prints one JSON object: for each number of streams at once the summary of totals, first chunks and lags.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import time
from typing import Any

from openai import AsyncOpenAI

from bench.aio import run
from bench.stats import in_ms
from bench.tokens import Arrival, is_whole, lags, start_of


async def _stream(client: AsyncOpenAI, tokens: int, rate: float) -> tuple[float, float, str, list[Arrival]]:
    """Read one answer; return total seconds, seconds to the first token, the text and the arrivals."""
    began = time.monotonic()
    pieces: list[str] = []
    arrivals: list[Arrival] = []
    answer = await client.chat.completions.create(
        model="bench",
        messages=[{"role": "user", "content": f"bench tokens={tokens} rate={rate:g}"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    async for chunk in answer:
        if chunk.choices and (text := chunk.choices[0].delta.content):
            pieces.append(text)
            arrivals.append((time.monotonic(), len(pieces)))
    return time.monotonic() - began, arrivals[0][0] - began, "".join(pieces), arrivals


async def measure(url: str, at_once: int, tokens: int, rate: float) -> dict[str, Any]:
    """Read ``at_once`` answers at the same time and summarise them."""
    client = AsyncOpenAI(api_key="x", base_url=url, max_retries=0)
    await _stream(client, 2, 100)
    gc.collect()
    gc.freeze()
    cpu = time.process_time()
    results = await asyncio.gather(*(_stream(client, tokens, rate) for _ in range(at_once)))
    cpu = time.process_time() - cpu
    late: list[float] = []
    for _, _, text, arrivals in results:
        late += lags(start_of(text) or 0.0, rate, arrivals)[0]
    return {
        "turns": at_once,
        "errors": sum(not is_whole(text, tokens) for _, _, text, _ in results),
        "total_ms": in_ms([total for total, *_ in results]),
        "first_ms": in_ms([first for _, first, *_ in results]),
        "lag_ms": in_ms(late),
        "cpu_s_per_1000": round(cpu / (at_once * tokens) * 1000, 3),
    }


def main() -> None:
    """Run as a process; see the module's docstring."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--rate", type=float, default=100)
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 10, 50, 100])
    args = parser.parse_args()

    async def every() -> dict[int, Any]:
        return {count: await measure(args.url, count, args.tokens, args.rate) for count in args.at_once}

    print(json.dumps(run(every())))


if __name__ == "__main__":
    main()
