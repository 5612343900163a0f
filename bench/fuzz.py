"""What becomes of recorded answers of real providers when they are cut off and split at random places.

``python -m bench.fuzz`` prints a table, cases by provider and outcome, and writes ``results/fuzz.json``. It needs
the recordings (``HOLDFAST_CORPUS``), which are not part of the repository.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "fuzz.json"
POINTS = 50


def main() -> int:
    """Run, print and write; return the exit status: 1 when any promise was broken."""
    options = argparse.ArgumentParser(prog="python -m bench.fuzz")
    options.add_argument("--points", type=int, default=POINTS, help="places a case")
    points = options.parse_args().points
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings_test")
    import django

    django.setup()
    import pytest

    try:
        from tests.providers.recorded import fuzz, recordings
    except pytest.skip.Exception as missing:
        print(f"skipped: {missing}")
        return 0
    seed, began = fuzz.seed(), time.monotonic()
    print(f"FUZZ_SEED={seed}, {points} places a case")
    wholes, broken, problems = asyncio.run(_run(list(recordings.CASES.values()), points, seed))
    _print("As recorded", wholes)
    _print("Cut off and split", broken)
    for problem in problems:
        print("BROKEN:", problem)
    figures = {
        "seed": seed,
        "points": points,
        "seconds": round(time.monotonic() - began, 1),
        "cases": _plain(wholes),
        "broken": _plain(broken),
        "problems": problems,
    }
    RESULTS.write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n")
    print(f"{sum(broken.values())} broken answers, {len(problems)} broken promises: {RESULTS}")
    return int(bool(problems))


async def _run(
    cases: list[dict[str, Any]], points: int, seed: int
) -> tuple[Counter[Any], Counter[Any], list[str]]:
    from copilot.providers.transport import close_clients
    from tests.providers.recorded import fuzz

    wholes: Counter[Any] = Counter()
    broken: Counter[Any] = Counter()
    problems: list[str] = []
    for case in cases:
        number = 0
        async for outcome in fuzz.outcomes(case, points=points, seed=seed):
            (broken if number else wholes)[case["provider"], outcome.what] += 1
            if outcome.problem:
                problems.append(f"{case['name']} {outcome.problem} ({outcome.what})")
            number += 1
        print(".", end="", flush=True)
        # Each case has servers of its own, whose connections nobody needs again.
        await close_clients()
    return wholes, broken, problems


def _plain(counts: Counter[Any]) -> dict[str, dict[str, int]]:
    plain: dict[str, dict[str, int]] = {}
    for (provider, what), count in counts.items():
        plain.setdefault(provider, {})[what] = count
    return plain


def _print(title: str, counts: Counter[Any]) -> None:
    columns = sorted({what for _, what in counts})
    print(f"\n{title}\n\n| provider | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    for provider in sorted({provider for provider, _ in counts}):
        print(f"| {provider} | {' | '.join(str(counts[provider, what] or '') for what in columns)} |")


if __name__ == "__main__":
    sys.exit(main())
