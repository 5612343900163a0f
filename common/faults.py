"""Named fault points: places where a test can make the process stop, fail or wait.

They do nothing unless armed, and settings refuse to arm them from the environment outside ``DEBUG``. In the
environment, ``name`` kills the process when it first gets there, ``name:3`` when it does for the third time.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable

from django.conf import settings

_hooks: dict[str, Callable[[], None]] = {}
_reached: Counter[str] = Counter()


def reach(name: str) -> None:
    """Say that execution has reached ``name``; armed, the process dies at once or the test's hook runs."""
    if _hooks and (hook := _hooks.get(name)):
        hook()
    if settings.FAULT_POINTS:
        _reached[name] += 1
        if not {name, f"{name}:{_reached[name]}"}.isdisjoint(settings.FAULT_POINTS):
            os._exit(86)


def arm(name: str, hook: Callable[[], None]) -> None:
    """Run ``hook`` in the reaching thread whenever ``name`` is reached, until ``disarm_all``."""
    _hooks[name] = hook


def disarm_all() -> None:
    """Forget every hook."""
    _hooks.clear()
