"""The trail of a request: the ids by which a line of the log, here or in a worker, is found again.

What runs for a request carries them along by itself, also in threads; a turn's worker takes them up again from
what was stored when it was submitted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

#: Of a trail, what is stored with a turn so that its worker follows it.
STORED = ("request_id", "traceparent")

_NOWHERE: Mapping[str, str] = {}
_trail: ContextVar[Mapping[str, str]] = ContextVar("trail", default=_NOWHERE)


def trail() -> Mapping[str, str]:
    """Return the ids of what runs here, by name; empty for what nobody asked for."""
    return _trail.get()


def stored_trail() -> dict[str, str]:
    """Return what a turn that is submitted here keeps of the trail."""
    here = _trail.get()
    return {name: here[name] for name in STORED if name in here}


def take_up(ids: Mapping[str, str]) -> None:
    """Go on with the trail of another thread, for as long as this one does its work."""
    _trail.set(ids)


@contextmanager
def follow_trail(**ids: str) -> Iterator[None]:
    """Have what runs in here known by these ids and no others; empty ones are left out."""
    token = _trail.set({name: value for name, value in ids.items() if value})
    try:
        yield
    finally:
        _trail.reset(token)
