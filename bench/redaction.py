"""What redaction costs: microseconds for a text, for a JSON value and for a delta of a stream.

``python -m bench.redaction`` prints a table. The process measures itself alone; nothing is written.
"""

from __future__ import annotations

import os
import re
import sys
import time
import timeit
from collections.abc import Callable

PROSE = (
    "The harbour was quiet when Anna came back. Nobody had told her that the ferry left at six, and the next one "
    "would not go before Monday. She sat down, opened the letter again and read what it said about the token of "
    "thanks: it is in the post. "
)
CODE = (
    "def connect(host: str, port: int = 5432) -> Connection:\n"
    '    """Open a connection; see https://example.com/docs/connect-4.2.html."""\n'
    "    options = {'application_name': 'x-1', 'max_tokens': 4096}\n"
    "    return _pool[host, port] or Connection(host, port=port, **options)\n\n"
)
SECRETS = (
    "export DB_PASSWORD=hunter22! and Authorization: Bearer 3f9a8b7c6d5e4f3a2b1c for https://bob:tops3cret@db/x\n"
)
SERVICES = (
    "We post to Twitter, Discord, Etsy, LinkedIn and Sentry, then Heroku: see the key, the token, the password.\n"
)
KINDS = (("prose", PROSE), ("code", CODE), ("every line a secret", SECRETS), ("names of services", SERVICES))
#: The best of so many rounds counts: the others were disturbed.
ROUNDS = 7


def main() -> int:
    """Measure and print; return the exit status: 1 when a delta costs more than its 50 µs."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings_test")
    import django

    django.setup()
    worst = 0.0
    print(f"{'':24} {'1,000 characters':>18} {'a delta':>10} {'JSON, 20 texts':>16}")
    for name, piece in KINDS:
        text = (piece * (1000 // len(piece) + 1))[:1000]
        per_text, per_delta, per_value = _of_text(text), _of_delta(text), _of_json(text)
        worst = max(worst, per_delta)
        print(f"{name:24} {per_text:15.1f} µs {per_delta:7.2f} µs {per_value:13.1f} µs")
    print(f"\n{'one delta':24} {'p50':>18} {'p99':>10} {'most':>16}")
    for name, piece in KINDS:
        half, most, all_ = _spread((piece * (8000 // len(piece) + 1))[:8000])
        worst = max(worst, most)
        print(f"{name:24} {half:15.2f} µs {most:7.2f} µs {all_:13.2f} µs")
    return int(worst > 50)


def _of_text(text: str) -> float:
    from common.redaction import redact_text

    return _microseconds(lambda: redact_text(text))


def _of_json(text: str) -> float:
    from common.redaction import redact_json

    value = {f"field {number}": text[number * 50 : number * 50 + 50] for number in range(20)}
    return _microseconds(lambda: redact_json(value))


def _of_delta(text: str) -> float:
    """Of the size that models send: a word, its blank before it."""
    from common.redaction_stream import StreamRedactor

    deltas = _deltas(text)

    def stream() -> None:
        redactor = StreamRedactor()
        for delta in deltas:
            redactor.feed(delta)
        redactor.flush()

    return _microseconds(stream) / len(deltas)


def _spread(text: str) -> tuple[float, float, float]:
    """Return the median, the 99th percentile and the maximum over the deltas, each the best of the rounds."""
    from common.redaction_stream import StreamRedactor

    deltas = _deltas(text)
    best = [float("inf")] * len(deltas)
    for _ in range(ROUNDS):
        redactor = StreamRedactor()
        for place, delta in enumerate(deltas):
            began = time.perf_counter_ns()
            redactor.feed(delta)
            best[place] = min(best[place], (time.perf_counter_ns() - began) / 1000)
    best.sort()
    return best[len(best) // 2], best[len(best) * 99 // 100], best[-1]


def _deltas(text: str) -> list[str]:
    return re.findall(r"\s?[A-Za-z]{1,6}|\s?\d{1,3}|\s*[^\sA-Za-z\d]{1,2}|\s+", text)


def _microseconds(call: Callable[[], object]) -> float:
    timer = timeit.Timer(call, timer=time.process_time)
    number, _ = timer.autorange()
    return min(timer.repeat(ROUNDS, max(1, number // 2))) / max(1, number // 2) * 1e6


if __name__ == "__main__":
    sys.exit(main())
