"""What this process counts and measures of itself, for Prometheus: the only file that knows its library.

Durations are in seconds, counters begin at the start of the process, and no label has values without bound:
neither ids nor names that people choose. What is a row is not counted here but read when somebody asks.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
    multiprocess,
    start_http_server,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from common.db import pool_stats

CONTENT_TYPE = CONTENT_TYPE_LATEST
REGISTRY = CollectorRegistry()
disable_created_metrics()  # type: ignore[no-untyped-call] # a second series for each, which nothing here needs
ProcessCollector(registry=REGISTRY)

#: From what nobody notices to what everybody does.
_QUICK = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_WAITS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_RUNS = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
_PEOPLE = (1, 5, 15, 60, 300, 900, 3600, 14400, 86400, 604800)


def _counter(name: str, meaning: str, *labels: str) -> Counter:
    return Counter(f"holdfast_{name}", meaning, labels, registry=REGISTRY)


def _histogram(name: str, meaning: str, buckets: Iterable[float], *labels: str) -> Histogram:
    return Histogram(f"holdfast_{name}", meaning, labels, registry=REGISTRY, buckets=tuple(buckets))


def _gauge(name: str, meaning: str, *labels: str) -> Gauge:
    return Gauge(f"holdfast_{name}", meaning, labels, registry=REGISTRY, multiprocess_mode="livesum")


# --- turns ------------------------------------------------------------------------------
turns_ended = _counter("turns_ended", "Turns that this process ended.", "origin", "status", "outcome")
turn_running_seconds = _histogram(
    "turn_running_seconds", "How long a turn ran until its end, pauses not counted.", _RUNS, "status"
)
claim_lag_seconds = _histogram("claim_lag_seconds", "From a turn's queueing to its claim by a worker.", _WAITS)
first_chunk_seconds = _histogram(
    "first_chunk_seconds", "From a turn's submission to the first sign of an answer.", _WAITS
)
recoveries = _counter("recoveries", "Turns taken over from lost workers, or handed back by stopping ones.", "kind")
taken_over, handed_back = recoveries.labels("taken_over"), recoveries.labels("handed_back")

# --- the event log and its followers ----------------------------------------------------
log_write_lag_seconds = _histogram(
    "log_write_lag_seconds", "From a chunk's making to its commit by the log writer.", _QUICK
)
chunk_lag_seconds = _histogram(
    "chunk_lag_seconds", "From a chunk's making to the follower's socket, where a hint brought it.", _QUICK
)
followers = _gauge("followers", "Followers of turns: of sockets, streams and waiting requests.")
sockets = _gauge("sockets", "Open websockets.", "kind")
hints_lost = _counter("hints_lost", "Hints that the channel layer or the broker did not take.", "of")
events_hints_lost, dispatch_hints_lost = hints_lost.labels("events"), hints_lost.labels("dispatch")
hints_healed = _counter("hints_healed", "What was found in the rows and no hint had told.", "by")
healed_by_follower, healed_by_sweep = hints_healed.labels("follower"), hints_healed.labels("sweep")

# --- models -----------------------------------------------------------------------------
model_call_seconds = _histogram(
    "model_call_seconds", "How long a model call took, failed ones too.", _RUNS, "model"
)
provider_errors = _counter("provider_errors", "Model calls that failed, by class of error.", "provider", "code")
tokens = _counter("tokens", "Tokens of model calls, as their usage records count them.", "model", "kind")
cost_microdollars = _counter("cost_microdollars", "Cost of model calls whose price is known.", "model")
unpriced_calls = _counter("unpriced_calls", "Model calls whose price is not known.", "model")
accounting_errors = _counter("accounting_errors", "Uses of a model that could not be recorded.")

# --- approvals --------------------------------------------------------------------------
approvals_closed = _counter("approvals_closed", "Approvals and questions that ended.", "kind", "status")
decision_seconds = _histogram("decision_seconds", "From asking a person to the decision.", _PEOPLE, "kind")

# --- the process ------------------------------------------------------------------------
loop_lag_seconds = _histogram("loop_lag_seconds", "How late a worker's event loop answers its heartbeat.", _QUICK)
sweep_passes = _counter("sweep_passes", "Passes of the sweep that this process made.")
sweep_failures = _counter("sweep_failures", "Passes of the sweep that broke off.")
sweep_seconds = _histogram("sweep_seconds", "How long a pass of the sweep took.", _WAITS)
sweep_rows = _counter("sweep_rows", "Rows that the sweep acted on.", "rule")


@dataclass(frozen=True, slots=True)
class Reading:
    """A figure that is read when somebody asks: its name without ``holdfast_``, and its values by their labels.

    One whose name ends with ``_total`` only grows.
    """

    name: str
    meaning: str
    labels: tuple[str, ...]
    values: Mapping[tuple[str, ...], float]


class _Readings(Collector):
    def __init__(self, read: Callable[[], Iterable[Reading]]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        for each in self._read():
            kind = CounterMetricFamily if each.name.endswith("_total") else GaugeMetricFamily
            family = kind(f"holdfast_{each.name}", each.meaning, labels=each.labels)
            for labels, value in each.values.items():
                family.add_metric(labels, value)
            yield family


def _pool() -> list[Reading]:
    """How the process's database connections are used; nothing where there is no pool."""
    stats = pool_stats()
    if not stats:
        return []
    idle = stats.get("pool_available", 0)
    states: dict[tuple[str, ...], float] = {("idle",): idle, ("used",): stats.get("pool_size", 0) - idle}
    waited = stats.get("requests_wait_ms", 0) / 1000
    return [
        Reading("db_pool_connections", "Connections of this process to the database.", ("state",), states),
        Reading(
            "db_pool_waiting",
            "Threads that wait for a connection now.",
            (),
            {(): stats.get("requests_waiting", 0)},
        ),
        Reading("db_pool_wait_seconds_total", "Time that threads waited for a connection.", (), {(): waited}),
    ]


REGISTRY.register(_Readings(_pool))


def exposition(readings: Iterable[Reading] = ()) -> bytes:
    """Return everything in Prometheus' text format: what was counted, and ``readings``.

    With ``PROMETHEUS_MULTIPROC_DIR`` it is what all processes counted that share the directory. For a thread: it
    takes some milliseconds.
    """
    counted = REGISTRY
    if settings.PROMETHEUS_MULTIPROC_DIR:
        _forget_dead_gauges(Path(settings.PROMETHEUS_MULTIPROC_DIR))
        counted = CollectorRegistry()
        multiprocess.MultiProcessCollector(counted)  # type: ignore[no-untyped-call]
    read = CollectorRegistry()
    read.register(_Readings(lambda: readings))
    return generate_latest(counted) + generate_latest(read)


def _forget_dead_gauges(folder: Path) -> None:
    """Remove what processes that are gone held open; what they counted stays counted."""
    for file in folder.glob("gauge_live*_*.db"):
        pid = int(file.stem.rpartition("_")[2])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            file.unlink(missing_ok=True)
        except PermissionError:
            continue  # it lives, as somebody else


def serve(port: int, host: str) -> None:
    """Answer with this process's own metrics at ``http://host:port/metrics``, from a thread.

    Raises:
        OSError: the address is taken, or not ours.
    """
    start_http_server(port, host, REGISTRY)
