"""What the figures of diagnostics mean where something is wrong: one plain sentence each, with what to look at."""

from __future__ import annotations

from collections.abc import Iterator

from copilot.diagnostics.metrics import Metrics

#: Queue and broker are never looked at in the same moment: so many apart is nothing yet.
_APART = 10


def signs(measured: Metrics) -> list[str]:
    """Return what is wrong; empty when nothing is."""
    return [*_of_workers(measured), *_of_queue(measured), *_of_turns(measured)]


def _of_workers(measured: Metrics) -> Iterator[str]:
    alive = [worker for worker in measured.workers if worker.alive]
    if not alive and measured.counts["queued"]:
        yield "No worker is alive: what is queued waits until one starts."


def _of_queue(measured: Metrics) -> Iterator[str]:
    queued, depth = measured.counts["queued"], measured.broker_queue_depth
    if depth is None:
        yield "The broker does not say how long its queue is: look whether it runs."
        return
    free = sum(max(each.slots - each.running, 0) for each in measured.workers if each.alive and not each.stopping)
    if queued > 2 * depth + _APART and free:
        yield (
            f"{queued} turns are queued and {free} slots are free, but the broker holds only {depth} hints. "
            "Unless their people run as many turns as they may (TURNS_PER_USER_MAX), some may have been lost. "
            "The sweep repeats them; if this stays, look at the broker."
        )
    if depth > 2 * queued + _APART:
        yield (
            f"The broker holds {depth} hints for {queued} queued turns: nobody takes them. Look whether workers "
            "are connected to it."
        )


def _of_turns(measured: Metrics) -> Iterator[str]:
    if orphaned := measured.counts["orphaned"]:
        yield f"Turns that lost their worker and were not taken over yet: {orphaned}. Look whether the sweep runs."
    if stuck := measured.counts["stuck_queued"]:
        yield f"Turns that have been queued for too long: {stuck}. Look for workers with free slots."
    if stranded := measured.stranded_messages:
        yield f"Messages that wait in sessions where nothing runs: {stranded}. There must be none."
    if invalid := measured.counts["invalid"]:
        kinds = ", ".join(f"{count} {kind}" for kind, count in measured.invalid_kinds.items())
        yield f"Turns in a state that must not be: {invalid} ({kinds}). Look at each."
