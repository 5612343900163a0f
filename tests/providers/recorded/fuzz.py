"""Breaks recorded answers at random places, and says what became of them.

One implementation, small in the tests and long in the benchmark. ``FUZZ_SEED`` repeats the places of an earlier
run.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

from copilot.providers.base import Provider
from tests.providers.answers import WEATHER, Answer, ask, collect
from tests.providers.recorded.recordings import body_of, provider_of, reply_of
from tests.providers.server import serve

#: Nothing on this machine takes nearly as long: an answer that does will never come.
HANG_SECONDS = 20.0
#: A body of this size is not sent byte by byte.
_LARGE = 60_000


def seed() -> int:
    """Return the seed of this run."""
    return int(os.environ.get("FUZZ_SEED") or random.SystemRandom().randrange(2**32))


@dataclass(frozen=True)
class Outcome:
    """What became of one broken answer. ``problem`` says how it breaks a promise, "" when it does not."""

    what: str
    problem: str = ""


async def outcomes(case: dict[str, Any], *, points: int, seed: int) -> AsyncIterator[Outcome]:
    """Yield what becomes of a case: as it is, cut off at ``points`` places, and split at random as often."""
    dice = random.Random(f"{seed} {case['name']}")
    reply = reply_of(case)
    async with serve(lambda _request: reply) as server:
        provider = provider_of(case, server.url)
        whole = await _answer(provider)
        if isinstance(whole, Outcome):
            yield whole
            return
        yield Outcome(named(whole))
        body = body_of(case)
        ends = [end.end() for end in re.finditer(rb"\n\s*\n", body)] or [len(body)]
        for point in range(points):
            # Between two events is where a cut is hardest to tell from an end.
            cut = dice.choice(ends) if point % 2 else dice.randrange(len(body) + 1)
            reply = replace(reply, pieces=_split(dice, body[:cut]), end=dice.choice(("complete", "cut")))
            answer = await _answer(provider)
            if (
                isinstance(answer, Answer)
                and b"response.completed" in body[:cut]
                and named(answer) == "nothing said"
            ):
                # A whole response in which only the server's own tools ran: the agent loop takes it for an error.
                yield Outcome("cut: nothing said")
            else:
                yield _judged(answer, whole, cut=True)
            reply = replace(reply, pieces=_split(dice, body), end="complete")
            yield _judged(await _answer(provider), whole, cut=False)


async def _answer(provider: Provider) -> Answer | Outcome:
    try:
        async with asyncio.timeout(HANG_SECONDS):
            return await collect(provider.stream(ask(tools=(WEATHER,))))
    except TimeoutError:
        return Outcome("hang", "never ended")
    except Exception as error:  # noqa: BLE001 -- whatever it is, it is what we look for
        return Outcome("crash", f"raised {error!r}")


def named(answer: Answer) -> str:
    """Return one word for how an answer ended."""
    if answer.error:
        return answer.error.code
    assert answer.stop is not None
    if answer.stop.reason == "stop" and not (answer.text or answer.calls):
        return "nothing said"
    return answer.stop.reason


def _judged(answer: Answer | Outcome, whole: Answer, *, cut: bool) -> Outcome:
    if isinstance(answer, Outcome):
        return answer
    what = named(answer)
    if not whole.text.startswith(answer.text):
        return Outcome(what, "says what the whole answer does not")
    if answer.error and cut:
        return Outcome(f"cut: {what}")
    if named(whole) != what or whole.text != answer.text or whole.called() != answer.called():
        return Outcome(what, "is taken for a whole answer, and is not")
    return Outcome("cut: whole" if cut else "split: the same")


def _split(dice: random.Random, body: bytes) -> list[bytes]:
    """Return the body in pieces of random sizes, most of them small."""
    pieces, at = [], 0
    least = len(body) // 2000 if len(body) > _LARGE else 0
    while at < len(body):
        size = least + dice.choice((1, 2, 3, 5, 8, 64, 512, dice.randint(1, 4096)))
        pieces.append(body[at : at + size])
        at += size
    return pieces
