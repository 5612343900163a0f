"""Python's garbage collector, in processes that live long.

Almost all that a server makes is freed as soon as nobody refers to it. The collector looks for the rest, cycles,
again and again among everything that there is: once all code is loaded that takes a fifth of a second, in which
the whole process stands still.
"""

from __future__ import annotations

import gc

#: Objects made and not freed until the young ones are looked through (Python: 700), and how often that
#: happens until the older ones are. What lives for a moment is gone before anybody looks at it.
YOUNG = 5_000
OLDER = 10


def spare_what_is_loaded() -> None:
    """Leave all that there is out of every collection to come, and collect less often.

    Called once a process has loaded what it is going to use.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, OLDER, OLDER)
